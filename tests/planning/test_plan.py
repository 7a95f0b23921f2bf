"""Plans are what the steps turn out to cost."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.planning.bytes_alive import peak_bytes
from locallearn.planning.rehearsal import Rehearsal, segments
from locallearn.planning.steps import LocalStep, PlainStep
from small_networks import residual

IMAGES = ((0.5,) * 3, (0.25,) * 3)


def network():
    return residual(6, 16, dtype=torch.float32)


def planned(**changes):
    return ll.plan(network, (3, 16, 16), **({"batch_size": 64, "normalization": IMAGES} | changes))


def real_peak(
    make, shape, batch, name, *, num_blocks=None, split_points=None, execution=None, balance="depth", **settings
):
    module = make()
    inputs = torch.zeros(2, *shape)
    blocks = ll.partition(module, inputs, num_blocks=num_blocks, split_points=split_points, balance=balance)
    classes = blocks.output_shape[-1]
    execution = execution or ll.Execution()
    model = ll.LocalModel(
        blocks, ll.method(name), ll.Classification(classes), normalization=IMAGES, execution=execution
    )
    step = LocalStep(model, **settings)
    return peak_bytes(lambda: step(torch.zeros(batch, *shape), torch.zeros(batch, dtype=torch.long)), step.held)


METHODS = ["backprop", "dgl", "predsim", "infopro", "auglocal", "dgl+man", "infopro+man", "mlaan", "infopro+mlaan"]


@pytest.mark.parametrize("name", METHODS)
def test_the_peak_is_that_of_real_tensors(name):
    found = planned(method=ll.method(name), num_blocks=7)
    assert found.peak_bytes == real_peak(network, (3, 16, 16), 64, name, num_blocks=7)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"optimizer": "adamw"},
        {"step_in_backward": True},
        {"execution": ll.Execution(recompute="blocks")},
    ],
)
def test_so_it_is_with_other_settings(changes):
    found = planned(method=ll.MAN(), num_blocks=4, **changes)
    points = list(found.split_points)
    # Fake BatchNorm keeps its statistics in bf16, where a real one has fp32.
    exact = real_peak(network, (3, 16, 16), 64, "dgl+man", split_points=points, **changes)
    assert found.peak_bytes == pytest.approx(exact, rel=1e-3 if "precision" in changes else 0)


def test_rivals_are_those_of_real_tensors():
    found = planned(num_blocks=7)
    plain, checkpointed, accumulated = found.rivals
    step = PlainStep(network(), nn.functional.cross_entropy)

    def whole(step):
        return lambda: step(torch.zeros(64, 3, 16, 16), torch.zeros(64, dtype=torch.long))

    assert plain.peak_bytes == peak_bytes(whole(step), step.held)
    recompute = ll.Execution(recompute="blocks")
    every, few = (
        real_peak(network, (3, 16, 16), 64, "backprop", num_blocks=count, execution=recompute, balance="memory")
        for count in (found.units, segments(found.units))
    )
    assert checkpointed.peak_bytes == few < every

    def over(count):
        step = PlainStep(network(), nn.functional.cross_entropy, micro_batches=count)
        return peak_bytes(whole(step), step.held)

    assert accumulated.peak_bytes == pytest.approx(over(accumulated.micro_batches), abs=64)
    assert over(accumulated.micro_batches) <= found.peak_bytes + 64 < over(accumulated.micro_batches - 1)
    assert checkpointed.flops > plain.flops == accumulated.flops


def test_blocks_add_up():
    found = planned(num_blocks=7)
    assert [block.first for block in found.blocks] == list(range(7))
    assert sum(block.flops for block in found.blocks) == found.flops
    assert max(block.peak_bytes for block in found.blocks) == found.peak_bytes
    assert found.blocks[found.bottleneck].peak_bytes == found.peak_bytes
    assert sum(block.parameter_bytes for block in found.blocks) == sum(p.nbytes for p in network().parameters())
    standing = sum(block.parameter_bytes + block.auxiliary_bytes for block in found.blocks)
    assert found.at_peak["parameters"] + found.at_peak["buffers"] == standing + sum(
        buffer.nbytes for buffer in network().buffers()
    )
    assert sum(block.optimizer_bytes for block in found.blocks) == found.at_peak["optimizer state"]
    assert sum(found.at_peak.values()) == found.peak_bytes
    assert found.at_peak["batch"] == 64 * (3 * 16 * 16 * 4 + 8)
    assert max(moment.total for moment in found.moments) == found.peak_bytes


def test_windows_over_several_blocks_are_one_row():
    assert [(block.first, block.last) for block in planned(method=ll.Backprop(), num_blocks=3).blocks] == [(0, 2)]
    tail = planned(method=ll.AugLocal(), num_blocks=7).blocks[-1]
    assert tail.last == 6 and tail.last - tail.first == 2 and len(tail.units) == 3


def test_a_module_is_left_as_it_is():
    module = network().eval()
    before = copy.deepcopy(module.state_dict())
    found = ll.plan(module, (3, 16, 16), batch_size=64, num_blocks=7, normalization=IMAGES)
    assert found.peak_bytes == planned(num_blocks=7).peak_bytes
    assert not any(inner.training for inner in module.modules())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not isinstance(next(module.parameters()), torch._subclasses.FakeTensor)


def test_a_function_that_needs_values_is_run_on_real_tensors():
    def reads_values():
        width = int(torch.ones(4).sum().item())
        return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))

    assert ll.plan(reads_values, (4,), batch_size=8, num_blocks=1).units == 1


def test_layout_is_taken_along():
    import locallearn.planning.rehearsal as room

    found = Rehearsal(network, (3, 16, 16), None, device=torch.device("cpu"), channels_last=True)
    weights = [p for p in found.network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    setting = room.Setting(method=ll.DGL(), batch_size=8)
    assert found.local(found.cut(None, "memory", None, None), setting)[1].peak.total > 0


def test_json_has_all_of_it():
    found = json.loads(planned(num_blocks=3, budget="1GiB").json())
    assert found["peak_bytes"] == sum(found["at_peak"].values())
    assert len(found["blocks"]) == len(found["sizes"]) == 3
    assert [rival["name"] for rival in found["rivals"]] == [
        "backprop", "backprop, checkpointing", "backprop, accumulation"
    ]  # fmt: skip
    assert max(sum(row[2:]) for row in found["moments"]) == found["peak_bytes"]
    assert found["budget"]["fits"] and found["settings"]["execution"]["lean"] == "off"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 0}, "a batch of at least 1"),
        ({"preset": "man"}, "needs num_blocks"),
        ({"num_blocks": 99}, "7 units"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"budget": "much"}, "no amount of memory"),
        ({"split_points": ["nowhere"]}, "no legal cut after 'nowhere'"),
    ],
)
def test_refusals(changes, said):
    with pytest.raises(ll.InputError, match=said):
        planned(**changes)


def test_what_is_no_network():
    for wrong in (3, lambda: 3):
        with pytest.raises(ll.InputError, match=r"torch\.nn\.Module or a function"):
            ll.plan(wrong, (4,), batch_size=8)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_operators_of_an_accelerator_that_is_not_there():
    with pytest.raises(ll.InputError, match="no cuda"):
        planned(device="cuda")
