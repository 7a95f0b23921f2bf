from __future__ import annotations

import itertools

import pytest
import torch

import locallearn as ll
from locallearn.simulation import step_clock
from locallearn.simulation.step_clock import StepClock, block_seconds, median_step
from small_networks import stack


def model(method, **options):
    torch.manual_seed(0)
    network = stack([4, 4, 6, 6], 5, dtype=torch.float32)
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8), num_blocks=4)
    return ll.LocalModel(blocks, method, ll.Classification(5), **options).train()


def test_every_second_of_a_step_belongs_to_a_block(monkeypatch):
    # On this clock every look takes one second.
    monkeypatch.setattr(step_clock.time, "perf_counter", map(float, itertools.count()).__next__)
    assert block_seconds(model(ll.DGL()), torch.rand(6, 3, 8, 8)) == [4, 3, 3, 3]
    assert block_seconds(model(ll.Backprop()), torch.rand(6, 3, 8, 8)) == [2, 1, 1, 3]
    # Of two windows that end in one block, both count there.
    overlapping = model(ll.MLAAN(ll.DGL(), momentum=0.7))
    ends = [window.stop - 1 for window in overlapping.windows]
    expected = [1 + 2 * ends.count(block) for block in range(4)]
    assert block_seconds(overlapping, torch.rand(6, 3, 8, 8)) == [expected[0] + 1, *expected[1:]]


@pytest.mark.parametrize("method", [ll.DGL(), ll.MAN(ll.DGL(), momentum=0.7)])
def test_a_model_is_afterwards_as_it_was(method):
    one, other = model(method), model(method)
    torch.manual_seed(3)
    block_seconds(one, torch.rand(6, 3, 8, 8), repeats=1)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    torch.rand(6, 3, 8, 8)
    assert torch.equal(torch.rand(1), drawn)
    assert all(parameter.grad is None for parameter in one.parameters())
    batch = torch.rand(6, 3, 8, 8), torch.randint(5, (6,))
    for each in (one, other):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        each.local_backward(*batch)
        optimizer.step()
        each.after_step()
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_the_first_step_does_not_count(monkeypatch):
    taken = iter([90.0, 1.0, 7.0, 2.0])
    monkeypatch.setattr(StepClock, "step", lambda *_: dict.fromkeys([("forward", b) for b in range(4)], next(taken)))
    assert block_seconds(model(ll.DGL()), torch.rand(6, 3, 8, 8), repeats=3) == [2, 2, 2, 2]


def test_medians_add_up_to_the_median_step():
    steps = [{("forward", 0): a, ("update", 0): b} for a, b in ((1.0, 5.0), (5.0, 1.0), (2.0, 2.0))]
    # Medians are 2 and 2, and steps lasted 6, 6 and 4.
    assert median_step(steps) == {("forward", 0): 3, ("update", 0): 3}
