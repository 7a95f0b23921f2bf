"""Costs of real steps: seconds by a clock of its own, bytes against other ways to count them."""

from __future__ import annotations

import itertools

import pytest
import torch

import locallearn as ll
from locallearn.benchmarking.bytes_saved import BytesSaved
from locallearn.errors import InputError
from locallearn.partitioning.balance import saved_bytes
from locallearn.simulation import step_clock
from locallearn.simulation.measure import measured
from locallearn.simulation.step_clock import StepClock
from small_networks import stack


def model(method="dgl", num_blocks=3, **more):
    torch.manual_seed(0)
    blocks = ll.partition(stack([4, 4, 6], 5, dtype=torch.float32), torch.zeros(2, 3, 8, 8), num_blocks=num_blocks)
    return ll.LocalModel(blocks, ll.method(method), ll.Classification(5), **more).train()


@pytest.fixture
def batch():
    return torch.rand(6, 3, 8, 8), torch.randint(5, (6,))


@pytest.fixture
def ticks(monkeypatch):
    """A clock on which every look takes one second."""
    counter = itertools.count()
    monkeypatch.setattr(step_clock.time, "perf_counter", lambda: float(next(counter)))


def test_every_second_is_charged_to_what_is_going_on(ticks, batch):
    local = model()
    optimizer = torch.optim.SGD(local.parameters(), lr=0.01, momentum=0.9)
    found = measured(local, *batch, optimizer=optimizer, repeats=2)
    assert found.batch_size == 6 and len(found.blocks) == 3
    # The first block's forward pass is begun twice: by the step, and by the block.
    assert [block.forward for block in found.blocks] == [2, 1, 1]
    assert all((block.backward, block.auxiliary) == (1, 1) for block in found.blocks)
    assert sum(block.update for block in found.blocks) == pytest.approx(1)
    assert found.end_to_end_backward == pytest.approx(1 / 3)


def test_medians_over_steps_without_the_first(monkeypatch, batch):
    taken = itertools.count()

    def step(clock, *_):
        turn = max(0, (next(taken) - 1) // 2)  # one step is for bytes, then two models take turns
        seconds = [90.0, 1.0, 7.0, 2.0][turn]
        windows = range(len(clock._model.windows))
        factors = {"forward": 1, "auxiliary": 2, "backward": 3 if len(windows) > 1 else 12, "update": 4}
        return {(kind, index): factor * seconds for kind, factor in factors.items() for index in windows}

    monkeypatch.setattr(StepClock, "step", step)
    found = measured(model(), *batch, repeats=3)
    assert {(block.forward, block.auxiliary, block.backward) for block in found.blocks} == {(2, 4, 6)}
    assert found.end_to_end_backward == 24 / (3 * 6)


def test_bytes_are_those_that_others_count(batch):
    local = model()
    blocks = measured(local, *batch, repeats=1).blocks
    assert [block.kept_bytes for block in blocks] == saved_bytes(local.partition.blocks, local.network, batch[0])
    for index, block in enumerate(blocks):
        own = sum(p.nbytes for p in local.block_parameters(index))
        heads = sum(p.nbytes for p in local.objectives[index].parameters())
        assert (block.parameter_bytes, block.auxiliary_parameter_bytes) == (own, heads)
    with BytesSaved(local.parameters()) as saved:
        local.local_backward(*batch)
    assert max(block.kept_bytes + block.auxiliary_kept_bytes for block in blocks) == saved.peak
    features = local.features(batch[0])
    assert [block.output_bytes for block in blocks[:-1]] == [each.nbytes for each in features[:-1]]
    assert all(block.auxiliary_kept_bytes > 0 and block.followed_bytes == 0 for block in blocks)
    with torch.autocast("cpu", torch.bfloat16):
        halved = measured(local, *batch, repeats=1).blocks
    assert [block.output_bytes for block in halved] == [block.output_bytes / 2 for block in blocks]


def test_copies_are_fetched_from_the_next_block(batch):
    local = model("dgl+man")
    optimizer = torch.optim.SGD(local.parameters(), lr=0.01, momentum=0.9)
    first, *_, last = measured(local, *batch, optimizer=optimizer, repeats=1).blocks
    sources = {follow.source for follow in local.objectives[0].follows()}
    state = local.network.state_dict()
    assert first.followed_bytes == sum(state[name].nbytes for name in sources) > 0
    assert last.followed_bytes == 0


def test_images_travel_where_they_are_read_later(batch):
    plain, reading = model(), model("infopro")
    sizes = [[block.output_bytes for block in measured(each, *batch, repeats=1).blocks] for each in (plain, reading)]
    # The last objective is the task's loss, which reads no images.
    assert [other - one for one, other in zip(*sizes, strict=True)] == [batch[0].nbytes, 0, 0]


def test_a_window_is_a_block_and_the_model_may_go_on(batch):
    local = model("backprop")
    (whole,) = measured(local, *batch, repeats=1).blocks
    assert whole.kept_bytes > 0 and whole.auxiliary_parameter_bytes == 0
    assert all(parameter.grad is None for parameter in local.parameters())
    local.local_backward(*batch)


def test_what_workers_cannot_share_is_refused(batch):
    with pytest.raises(InputError, match="overlap"):
        measured(model("mlaan"), *batch)
    with pytest.raises(InputError, match="group_heads"):
        measured(model(execution=ll.Execution(group_heads=True)), *batch)
