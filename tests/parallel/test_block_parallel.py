"""Blocks in several processes learn bit for bit what they learn in one."""

from __future__ import annotations

import pytest
import torch

import locallearn as ll
from parallel.cases import METHODS, batch_of, model_of
from parallel.processes import in_processes

FIFTY = ("dgl", "predsim", "infopro", "auglocal", "dgl+man")
"""Trained for fifty steps; the others for a few."""
ONE_WINDOW_SPANS_ALL = ("backprop", "mlaan", "mlaan, wide", "infopro+mlaan")
SINGLE = torch.float32


def steps_of(name, processes=2):
    return 50 if name in FIFTY and processes == 2 else 4


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(model, parallel, steps, *, first=True, accumulate=1):
    optimizer = optimizer_of(model)
    for step in range(steps):
        for part in range(accumulate):
            parallel.local_backward(*(batch_of(step * accumulate + part, dtype=SINGLE) if first else ()))
        optimizer.step()
        optimizer.zero_grad()
        parallel.after_step()


def here(model):
    """The tensors that have values in this process."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if not tensor.is_meta}


def divided(rank, processes):
    found = {}
    for name in METHODS:
        for crossing in ("refuse", "send_back"):
            if crossing == "refuse" and name in ONE_WINDOW_SPANS_ALL:
                continue
            if crossing == "send_back" and name in FIFTY and name != "auglocal":
                continue  # nothing crosses
            # Other weights in every process: the first one's are taken over.
            model = model_of(name, dtype=SINGLE, seed=rank)
            parallel = ll.BlockParallel(model, crossing=crossing)
            steps = steps_of(name, processes) if crossing == "refuse" else 4
            train(model, parallel, steps, first=parallel.is_first)
            parallel.close()
            blocks = [parallel.blocks.start, parallel.blocks.stop]
            found[name, crossing] = {"state": here(model), "blocks": blocks, "windows": list(parallel.windows)}
    return found


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    return in_processes(2, tmp_path_factory.mktemp("two"), divided, 2)


@pytest.fixture(scope="module")
def of_three(tmp_path_factory):
    return in_processes(3, tmp_path_factory.mktemp("three"), divided, 3)


@pytest.fixture(scope="module")
def one_process():
    """What one process learns, made once for each method and number of steps."""
    known = {}

    def trained(name, steps):
        if (name, steps) not in known:
            model = model_of(name, dtype=SINGLE)
            train(model, model, steps)
            known[name, steps] = here(model)
        return known[name, steps]

    return trained


def same_bits(parts, expected):
    """Every tensor is somewhere, once if it is learned, and has the expected bits."""
    assert set().union(*(part["state"] for part in parts)) == expected.keys()
    for part in parts:
        for name, values in part["state"].items():
            assert torch.equal(values, expected[name]), name
    assert [place for part in parts for place in range(*part["blocks"])] == list(range(4))
    windows = [window for part in parts for window in part["windows"]]
    assert windows == list(range(len(windows)))


@pytest.mark.parametrize("name", FIFTY)
def test_fifty_steps_of_two_processes_have_the_bits_of_one(of_two, one_process, name):
    same_bits([found[name, "refuse"] for found in of_two], one_process(name, 50))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in FIFTY])
def test_every_method_has_the_bits_of_one_process(of_two, one_process, name):
    for crossing in ("refuse", "send_back"):
        if (name, crossing) in of_two[0]:
            same_bits([found[name, crossing] for found in of_two], one_process(name, 4))


@pytest.mark.parametrize("name", METHODS)
def test_three_processes_have_the_bits_of_one(of_three, one_process, name):
    tried = [crossing for crossing in ("refuse", "send_back") if (name, crossing) in of_three[0]]
    assert tried
    for crossing in tried:
        same_bits([found[name, crossing] for found in of_three], one_process(name, 4))


def test_the_networks_tensors_are_each_in_one_process_alone(of_three):
    for key in of_three[0]:
        names = [name for found in of_three for name in found[key]["state"] if name.startswith("network.")]
        assert len(names) == len(set(names))


def variants(rank):
    found = {}
    for name, options in {
        "bf16": {"transfer": torch.bfloat16},
        "uneven": {"times": [1.0, 1.0, 1.0, 9.0]},
        "slow second": {"speeds": [3.0, 1.0]},
    }.items():
        model = model_of("dgl", dtype=SINGLE)
        parallel = ll.BlockParallel(model, **options)
        losses = learned(model, parallel)
        parallel.close()
        found[name] = {"state": here(model), "blocks": [parallel.blocks.start, parallel.blocks.stop], "losses": losses}
    for name in ("dgl+man", "dgl+man, before the step", "dgl+man, statistics"):
        model = model_of(name, dtype=SINGLE)
        parallel = ll.BlockParallel(model, exchange_every=3)
        train(model, parallel, 8, first=parallel.is_first)
        parallel.settle()
        found[name, "every 3"] = here(model)
        found[name, "heard"] = {key: value.clone() for key, value in parallel.heard().items()}
        parallel.close()
        found[name, "several"] = several(name)
    found["lean"] = [lean(execution) for execution in LEAN]
    return found


def learned(model, parallel):
    """The last window's loss over thirty steps on one batch, where it is computed."""
    optimizer, losses = optimizer_of(model), []
    for _ in range(30):
        outputs = parallel.local_backward(*(batch_of(0, dtype=SINGLE) if parallel.is_first else ()))
        losses.append(float(outputs[-1].loss))
        optimizer.step()
        optimizer.zero_grad()
        parallel.after_step()
    return losses


def several(name):
    """Two batches for each step."""
    model = model_of(name, dtype=SINGLE)
    parallel = ll.BlockParallel(model)
    train(model, parallel, 3, first=parallel.is_first, accumulate=2)
    parallel.close()
    return here(model)


LEAN = (
    ll.Execution(lean="in_place", recompute="branches", group_heads=True),
    ll.Execution(lean="recompute", recompute="blocks", count_batches="together"),
)


def lean(execution):
    model = model_of("dgl+man", dtype=SINGLE, execution=execution)
    parallel = ll.BlockParallel(model)
    train(model, parallel, 4, first=parallel.is_first)
    parallel.close()
    return here(model)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    return in_processes(2, tmp_path_factory.mktemp("variants"), variants)


def test_activations_in_half_the_bits_change_the_result_and_still_teach(varied, one_process):
    model = model_of("dgl", dtype=SINGLE)
    exact = learned(model, WithFirst(model))
    first, second = (found["bf16"] for found in varied)
    assert all(torch.equal(values, model.state_dict()[name]) for name, values in first["state"].items())
    assert not torch.equal(second["state"]["network.linear.weight"], model.state_dict()["network.linear.weight"])
    losses = second["losses"]
    assert losses != exact and losses[-1] < 0.5 * losses[0]
    assert losses[-1] == pytest.approx(exact[-1], rel=0.2)


class WithFirst:
    """A model in one process, called as if it were divided."""

    is_first = True

    def __init__(self, model):
        self.local_backward, self.after_step = model.local_backward, model.after_step


def test_times_and_speeds_balance_the_blocks(varied):
    assert [found["uneven"]["blocks"] for found in varied] == [[0, 3], [3, 4]]
    assert [found["slow second"]["blocks"] for found in varied] == [[0, 3], [3, 4]]


def slow_reference(name, steps, every):
    """One process whose copies hear of the second half's parameters after every so many steps alone."""
    model = model_of(name, dtype=SINGLE)
    optimizer = optimizer_of(model)
    tensors = {**dict(model.network.named_parameters()), **dict(model.network.named_buffers())}
    paths = [path for block in model.partition.blocks[2:] for path in block.modules_called]
    second = {key for key in tensors if any(key.startswith(f"{path}.") for path in paths)}
    heard = {key: tensors[key].detach().clone() for key in second}
    follows = [(i, follow) for i, objective in enumerate(model.objectives) for follow in objective.follows()]
    first = [f for i, f in follows if model.windows[i].stop <= 2]
    assert {f.source for f in first} & second
    for step in range(1, steps + 1):
        before = {id(f.copy): f.copy.detach().clone() for f in first}
        early = {f.source: tensors[f.source].detach().clone() for _, f in follows}
        told = dict(heard)
        model.local_backward(*batch_of(step - 1, dtype=SINGLE))
        optimizer.step()
        optimizer.zero_grad()
        model.after_step()
        if step % every == 0:
            heard |= {key: tensors[key].detach().clone() for key in second}
        for f in first:
            now = early[f.source] if f.before_step else tensors[f.source].detach()
            known = told if f.before_step else heard
            source = known[f.source] if f.source in second else now
            with torch.no_grad():
                f.copy.copy_(torch.lerp(before[id(f.copy)], source, 1 - f.momentum))
    return here(model), heard


@pytest.mark.parametrize("name", ["dgl+man", "dgl+man, before the step", "dgl+man, statistics"])
def test_copies_that_hear_every_third_step_follow_what_they_heard_last(varied, one_process, name):
    expected, heard = slow_reference(name, 8, 3)
    every_step = one_process(name, 8)
    assert not torch.equal(expected["network.conv0.weight"], every_step["network.conv0.weight"])
    for found in varied:
        for key, values in found[name, "every 3"].items():
            assert torch.equal(values, expected[key]), key
    assert varied[0][name, "heard"] and not varied[1][name, "heard"]
    for key, values in varied[0][name, "heard"].items():
        assert torch.equal(values, heard[key]), key


@pytest.mark.parametrize("name", ["dgl+man", "dgl+man, before the step", "dgl+man, statistics"])
def test_several_batches_of_a_step_move_the_copies_once(varied, name):
    model = model_of(name, dtype=SINGLE)
    train(model, model, 3, accumulate=2)
    for found in varied:
        for key, values in found[name, "several"].items():
            assert torch.equal(values, model.state_dict()[key]), key


@pytest.mark.parametrize("place", range(len(LEAN)))
def test_ways_to_save_memory_go_along(varied, place):
    model = model_of("dgl+man", dtype=SINGLE, execution=LEAN[place])
    train(model, model, 4)
    for found in varied:
        for key, values in found["lean"][place].items():
            assert torch.equal(values, model.state_dict()[key]), key
