"""Slow blocks take as many turns fewer as their factor says."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

import locallearn as ll
from locallearn.parallel.turn_order import TurnOrder


def taken(order, count):
    blocks = []
    for _ in range(count):
        blocks.append(order.block)
        order.advance()
    return blocks


def test_two_turns_each_come_first():
    for seed in range(5):
        assert taken(TurnOrder(4, slow={2: 3.0}, seed=seed), 8) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("slow", [{}, {1: 2.0}, {0: 10 / 9}, {1: 4, 3: 1.5}])
def test_turns_are_in_the_ratio_of_the_factors(slow):
    chances = [1 / slow.get(block, 1) for block in range(4)]
    drawn = 20_000
    counts = Counter(taken(TurnOrder(4, slow=slow, seed=1), drawn + 8)[8:])
    for block, chance in enumerate(chances):
        share = chance / sum(chances)
        deviation = (drawn * share * (1 - share)) ** 0.5
        assert abs(counts[block] - drawn * share) < 4 * deviation


def test_round_robin_has_no_first_turns():
    assert taken(TurnOrder(3, order="round_robin"), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_the_seed_alone_decides():
    first, again, other = (taken(TurnOrder(3, seed=seed), 60) for seed in (5, 5, 6))
    torch.manual_seed(0)
    assert first == again != other


@pytest.mark.parametrize("before", [0, 3, 40])
def test_a_stored_order_goes_on(before):
    straight, resumed = TurnOrder(3, slow={0: 2}, seed=3), TurnOrder(3, slow={0: 2}, seed=8)
    taken(straight, before)
    resumed.load_state_dict(straight.state_dict())
    assert taken(resumed, 50) == taken(straight, 50)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"slow": {3: 2.0}}, "slow={3: 2.0} must name a block of 0 to 2"),
        ({"slow": {-1: 2.0}}, "slow={-1: 2.0} must"),
        ({"slow": {0: 0.5}}, "slow={0: 0.5} must .* a finite factor of at least 1"),
        ({"slow": {0: float("inf")}}, "slow={0: inf} must"),
        ({"slow": {0: float("nan")}}, "slow={0: nan} must"),
        ({"order": "sorted"}, "order must be 'random' or 'round_robin', not 'sorted'"),
        ({"order": "round_robin", "slow": {0: 2}}, "no block is slower"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(ll.InputError, match=words):
        TurnOrder(3, **arguments)
