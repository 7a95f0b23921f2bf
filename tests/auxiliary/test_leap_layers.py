"""Leap layers against the released lists, typed here as places (stage, block)."""

from __future__ import annotations

import pytest
import torch

import locallearn as ll
from locallearn.auxiliary.leap_layers import RELEASED_LEAPS, leap_as_released, leap_by_rule
from locallearn.partitioning.published_cuts import PRESETS

SHALLOW, DEEP = 5, 18


def unit(per_stage, place):
    stage, block = place
    return 1 + (stage - 1) * per_stage + block


RELEASED = [
    (SHALLOW, 15, (1, 0), [(2, 0), (3, 0), (3, 2), (3, 4)]),
    (SHALLOW, 15, (1, 1), [(2, 0), (3, 0), (3, 2), (3, 4)]),
    (SHALLOW, 15, (1, 2), [(2, 0), (3, 0), (3, 3), (3, 4)]),
    (SHALLOW, 15, (1, 3), [(2, 0), (3, 0), (3, 2), (3, 4)]),
    (SHALLOW, 15, (1, 4), [(2, 0), (3, 0), (3, 3), (3, 4)]),
    *((SHALLOW, 15, (2, block), [(3, 0), (3, 2), (3, 3), (3, 4)]) for block in range(5)),
    (SHALLOW, 15, (3, 0), [(3, 1), (3, 2), (3, 4)]),
    (SHALLOW, 15, (3, 1), [(3, 2), (3, 3), (3, 4)]),
    (SHALLOW, 15, (3, 2), [(3, 3), (3, 4)]),
    (SHALLOW, 15, (3, 3), [(3, 4)]),
    (SHALLOW, 8, (1, 2), [(2, 0), (3, 0), (3, 2), (3, 4)]),
    (SHALLOW, 8, (1, 4), [(2, 0), (3, 0), (3, 3), (3, 4)]),
    (SHALLOW, 8, (2, 3), [(3, 0), (3, 2), (3, 3), (3, 4)]),
    (SHALLOW, 8, (3, 0), [(3, 2), (3, 3), (3, 4)]),
    (SHALLOW, 8, (3, 2), [(3, 3), (3, 4)]),
    *(
        (DEEP, blocks, place, leaps)
        for blocks in (54, 32)
        for place, leaps in (
            ((1, 1), [(2, 0), (3, 0), (3, 2), (3, 17)]),
            ((1, 17), [(2, 0), (3, 0), (3, 2), (3, 17)]),
            ((2, 16), [(3, 0), (3, 2), (3, 3), (3, 17)]),
            ((2, 17), [(3, 0), (3, 3), (3, 4), (3, 17)]),
            ((3, 6), [(3, 8), (3, 17)]),
            ((3, 7), [(3, 14), (3, 17)]),
            ((3, 9), [(3, 14), (3, 17)]),
            ((3, 11), [(3, 15), (3, 17)]),
            ((3, 13), [(3, 16), (3, 17)]),
        )
    ),
    (DEEP, 54, (3, 16), [(3, 17)]),
    (DEEP, 54, (3, 15), [(3, 16), (3, 17)]),
    (DEEP, 32, (3, 15), [(3, 17)]),
]


@pytest.mark.parametrize(("per_stage", "blocks", "end", "leaps"), RELEASED)
def test_released_tables(per_stage, blocks, end, leaps):
    found = leap_as_released(1 + 3 * per_stage, blocks, unit(per_stage, end))
    assert found == tuple(unit(per_stage, place) for place in leaps)


def test_released_tables_have_an_entry_for_every_local_block_of_their_cut():
    for (units, blocks), table in RELEASED_LEAPS.items():
        sizes = PRESETS["mlaan"]["resnet32" if units == 16 else "resnet110", blocks]
        ends = [sum(sizes[:count]) - 1 for count in range(1, blocks)]
        assert sorted(table) == ends


def units_of(name="resnet32", size=32):
    return ll.partition(ll.networks.build(name, 10), torch.zeros(2, 3, size, size), num_blocks=1).units


@pytest.mark.parametrize(
    ("after", "most", "expected"),
    [
        (0, 4, (6, 11, 13, 15)),
        (5, 4, (6, 11, 13, 15)),
        (6, 4, (11, 12, 14, 15)),
        (11, 4, (12, 13, 14, 15)),
        (12, 4, (13, 14, 15)),
        (14, 4, (15,)),
        (15, 4, ()),
        (0, 1, (6,)),
        (0, 2, (6, 11)),
        (0, 3, (6, 11, 15)),
        (11, 2, (13, 15)),
    ],
)
def test_the_rule_takes_what_changes_the_shape_and_then_spreads(after, most, expected):
    assert leap_by_rule(units_of(), after, most) == expected


@pytest.mark.parametrize("name", ["resnet32", "torchvision:mobilenet_v2", "torchvision:vgg11_bn"])
def test_every_leap_can_follow_the_one_before(name):
    units = units_of(name)
    for after in units:
        shape = after.out_shape
        for index in leap_by_rule(units, after.index, 4):
            assert units[index].in_shape == shape and index > after.index
            shape = units[index].out_shape


def test_a_stack_of_one_shape_is_spread_evenly():
    units = ll.partition(
        torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(10)), torch.nn.Linear(4, 2)),
        torch.zeros(2, 4),
        num_blocks=1,
    ).units
    assert leap_by_rule(units, 1, 4) == (3, 5, 7, 9)


@pytest.mark.parametrize(
    ("units", "blocks", "after"), [(16, 16, 0), (16, 15, 0), (16, 4, 3), (17, 16, 1), (55, 54, 54)]
)
def test_what_has_no_table_is_refused(units, blocks, after):
    with pytest.raises(ll.InputError, match=r"preset='mlaan'.*leap_layers='rule'"):
        leap_as_released(units, blocks, after)
