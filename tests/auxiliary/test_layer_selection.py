from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locallearn.auxiliary.layer_selection import pyramidal_depth, uniform_selection

INDICES = {
    # ResNet-110, ResNet-32, ResNet-34 and VGG13 by n and D; then l: indices.
    (55, 3): {0: [18, 36, 54], 10: [25, 39, 54], 19: [31, 42, 54], 37: [43, 48, 54]},
    (16, 2): {
        **{unit: [8, 15] for unit in (0, 1, 2)},
        3: [9, 15],
        **{unit: [10, 15] for unit in (4, 5, 6)},
        7: [11, 15],
        **{unit: [12, 15] for unit in (8, 9, 10)},
        11: [13, 15],
    },
    (17, 4): {0: [4, 8, 12, 16], 3: [6, 10, 13, 16], 5: [8, 10, 13, 16], 13: [14, 15, 16]},
    (10, 4): {0: [2, 4, 7, 9], 3: [4, 6, 8, 9]},
    # Figure 2c, numbered from 0.
    (8, 3): {0: [2, 5, 7], 1: [3, 5, 7]},
    (8, 2): {2: [4, 7]},
    (5, 9): {0: [1, 2, 3, 4], 3: [4], 4: []},
}
DEPTHS = {
    # (local blocks, D): (depth, how many) at tau = 0.5.
    (53, 1): [(1, 53)],
    (52, 2): [(2, 52)],
    (51, 3): [(3, 25), (2, 26)],
    (50, 4): [(4, 17), (3, 32), (2, 1)],
    (49, 5): [(5, 12), (4, 25), (3, 12)],
    (48, 6): [(6, 10), (5, 19), (4, 19)],
    (47, 7): [(7, 8), (6, 16), (5, 15), (4, 8)],
    (46, 8): [(8, 7), (7, 13), (6, 13), (5, 12), (4, 1)],
    (12, 3): [(3, 6), (2, 6)],
    (10, 5): [(5, 3), (4, 4), (3, 3)],
}


@pytest.mark.parametrize(("num_units", "depth"), INDICES)
def test_published_indices(num_units, depth):
    for unit, expected in INDICES[num_units, depth].items():
        assert list(uniform_selection(unit, num_units, depth)) == expected


@pytest.mark.parametrize(("num_local", "depth"), DEPTHS)
def test_published_depths(num_local, depth):
    expected = [value for value, count in DEPTHS[num_local, depth] for _ in range(count)]
    assert [pyramidal_depth(depth, 0.5, index, num_local) for index in range(num_local)] == expected


def half_to_even(number: Fraction) -> int:
    below = number.numerator // number.denominator
    rest = number - below
    return below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1))


@given(st.integers(1, 160), st.integers(1, 12), st.data())
def test_indices_are_the_exactly_rounded_ones(num_units, depth, data):
    unit = data.draw(st.integers(0, num_units - 1))
    found = uniform_selection(unit, num_units, depth)
    later = num_units - 1 - unit
    count = min(depth, later)
    assert list(found) == [half_to_even(unit + Fraction(later * step, count)) for step in range(1, count + 1)]
    assert list(found) == sorted(set(found))


def test_ends_of_the_pyramid():
    assert [pyramidal_depth(5, 0.0, index, 4) for index in range(4)] == [5] * 4
    assert [pyramidal_depth(5, 1.0, index, 5) for index in range(5)] == [5, 4, 3, 2, 1]
    # In floating point, as the released code computes; the exact 2.5 would be rounded to 2.
    assert pyramidal_depth(6, 0.7, 3, 4) == 3
    assert pyramidal_depth(4, 1.0, 0, 1) == 4
