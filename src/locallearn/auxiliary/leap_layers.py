"""Which later units MLAAN's auxiliary networks leap to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from locallearn.errors import InputError

if TYPE_CHECKING:
    from locallearn.partitioning import Unit


def leap_by_rule(units: Sequence[Unit], after: int, most: int) -> tuple[int, ...]:
    """Units to copy, chosen by shape: those that change it, then some of the last shape, spread evenly up to the end.

    Each chosen unit reads what the one before returns. Of r units of the last shape, the i-th is
    `round(s + (n - 1 - s) / r * i)`, rounded half to even, where s is the last unit that changes the shape.

    Source: A rule for the pattern in the tables of Wendy231015/MLAAN at 70effbe, networks/configAuxPlus_new.py, which
        were chosen by hand; the spread is that of Ma et al. (AugLocal), ICLR 2024.
    Departures: The tables themselves are `RELEASED_LEAPS`.

    Args:
        units: All units of the network in order.
        after: Index of the unit whose output the first chosen unit reads.
        most: At most so many units.

    Returns:
        Rising indices; none after the last unit.
    """
    last = len(units) - 1
    changing = [unit.index for unit in units[after + 1 :] if unit.in_shape != unit.out_shape][:most]
    start = changing[-1] if changing else after
    count = min(most - len(changing), last - start)
    return (*changing, *(round(start + (last - start) / count * i) for i in range(1, count + 1)))


def leap_as_released(num_units: int, num_blocks: int, after: int) -> tuple[int, ...]:
    """Units to copy as the released code lists them.

    Args:
        num_units: How many units the network has.
        num_blocks: How many blocks it is cut into.
        after: Index of the last unit of the block.

    Returns:
        Rising indices.

    Raises:
        InputError: There is no table for these blocks.
    """
    table = RELEASED_LEAPS.get((num_units, num_blocks), {})
    if after not in table:
        raise InputError(
            f"MLAAN's released code lists no leap layers after unit {after} of {num_units} units in {num_blocks} "
            "blocks; it has CIFAR ResNet-32 in 8 or 15 and ResNet-110 in 32 or 54 blocks, cut by preset='mlaan'. Cut "
            "so, or use leap_layers='rule'."
        )
    return table[after]


def _table(blocks_per_stage: int, ends: Sequence[str], leaps: dict[str, str]) -> dict[int, tuple[int, ...]]:
    """Leaps by unit from lists of `stage.block`, in the order of the blocks' ends."""

    def unit(place: str) -> int:
        stage, block = map(int, place.split("."))
        return 1 + blocks_per_stage * (stage - 1) + block

    found = {}
    for end in ends:
        key = next(key for key in (end, end.split(".")[0]) if key in leaps)
        found[unit(end)] = tuple(map(unit, leaps[key].split()))
    return found


def _ends(stage: int, *blocks: int) -> list[str]:
    return [f"{stage}.{block}" for block in blocks]


_DEEP_STAGE_1 = {"1": "2.0 3.0 3.2 3.17", "2": "3.0 3.2 3.3 3.17", "2.17": "3.0 3.3 3.4 3.17", "3.16": "3.17"}
_DEEP = _DEEP_STAGE_1 | {
    f"3.{block}": f"3.{middle} 3.17"
    for middle, blocks in ((8, range(7)), (14, range(7, 11)), (15, range(11, 13)), (16, range(13, 16)))
    for block in blocks
}
_SHALLOW_STAGE_2 = {"1": "2.0 3.0 3.2 3.4", "1.4": "2.0 3.0 3.3 3.4", "2": "3.0 3.2 3.3 3.4"}
_EVERY_SECOND_OR_THIRD = (1, 2, 4, 5, 7, 9, 11, 13, 14, 16, 17)

RELEASED_LEAPS: dict[tuple[int, int], dict[int, tuple[int, ...]]] = {
    (16, 8): _table(
        5,
        [*_ends(1, 0, 2, 4), *_ends(2, 1, 3), *_ends(3, 0, 2)],
        _SHALLOW_STAGE_2 | {"3.0": "3.2 3.3 3.4", "3.2": "3.3 3.4"},
    ),
    (16, 15): _table(
        5,
        [*_ends(1, *range(5)), *_ends(2, *range(5)), *_ends(3, *range(4))],
        _SHALLOW_STAGE_2
        | {"1.2": "2.0 3.0 3.3 3.4", "3.0": "3.1 3.2 3.4", "3.1": "3.2 3.3 3.4", "3.2": "3.3 3.4", "3.3": "3.4"},
    ),
    (55, 32): _table(
        18,
        [
            *_ends(1, *_EVERY_SECOND_OR_THIRD),
            *_ends(2, *_EVERY_SECOND_OR_THIRD),
            *_ends(3, 1, 3, 4, 6, 7, 9, 11, 13, 15),
        ],
        _DEEP | {"3.15": "3.17"},
    ),
    (55, 54): _table(18, [*_ends(1, *range(18)), *_ends(2, *range(18)), *_ends(3, *range(17))], _DEEP),
}
"""Leaps by (number of units, number of blocks) and the last unit of the block; the stem is unit 0.

Source: Wendy231015/MLAAN at 70effbe, networks/configAuxPlus_new.py.
"""
