"""The cuts of the papers' released code, for the CIFAR ResNets with 16 and 55 units (the stem is one)."""

from __future__ import annotations

import difflib

from locallearn.errors import InputError
from locallearn.partitioning.balance import even_sizes

_IRREGULAR_32 = (3, 1, 2, 1, 2, 2, 2, 2, 1, 2, 1, 2, 1, 2, 1, 2, 2, 2, 2, 1, 2, 1, 2, 2, 1, 2, 1, 2, 2, 2, 2, 2)
_EVEN = {(16, blocks): tuple(even_sizes(16, blocks)) for blocks in (4, 8, 16)}
_EVEN |= {(55, blocks): tuple(even_sizes(55, blocks)) for blocks in (4, 8, 16)}
_LARGER_FIRST = {(16, 2): (8, 8), (16, 3): (6, 5, 5), (55, 2): (28, 27), (55, 3): (19, 18, 18)}
_STEM_JOINS = {(16, 15): (2, *[1] * 14), (55, 54): (2, *[1] * 53), (55, 32): _IRREGULAR_32}
_STEM_JOINS_AS_NAMED = _STEM_JOINS | {(16, 16): _STEM_JOINS[16, 15], (55, 55): _STEM_JOINS[55, 54]}

PRESETS: dict[str, dict[tuple[int, int], tuple[int, ...]]] = {
    "auglocal": {
        (units, blocks): (*[1] * (blocks - 1), units - blocks + 1)
        for units in (16, 55)
        for blocks in (*range(2, 14), 16, *range(47, 56))
        if blocks <= units and (units == 16 or blocks >= 47)
    },
    "infopro": _EVEN | _LARGER_FIRST,
    "infopro_balanced": {(55, 2): (16, 39), (55, 3): (11, 11, 33), (55, 4): (8, 8, 12, 27)},
    "infopro_balanced_stl10": {(55, 2): (16, 39), (55, 3): (10, 11, 34), (55, 4): (8, 8, 12, 27)},
    "man": _EVEN | _LARGER_FIRST | _STEM_JOINS_AS_NAMED,
    "mlaan": {
        key: sizes
        for key, sizes in (_EVEN | _STEM_JOINS_AS_NAMED).items()
        if key in ((16, 8), (16, 15), (16, 16), (55, 32), (55, 54), (55, 55))
    },
}
"""Units per block by preset, number of units and named number of blocks.

Source: `auglocal`: ChenxiangMA/AugLocal, networks/configs.py: single units, then all the rest. `infopro` and
    `infopro_balanced`: blackfeather-wang/InfoPro-Pytorch at a38362a, networks/configs.py. `man`: JunhaoSu0/MAN at
    a6d20c5, networks/config.py, where the stem joins the first residual block, so that the lists named 16 and 55 make
    15 and 54 blocks. `mlaan`: Wendy231015/MLAAN at 70effbe, networks/config2.py, likewise.
"""


def published_sizes(preset: str, num_units: int, num_blocks: int | None) -> tuple[int, ...]:
    """Units per block as a paper's released code has them.

    Args:
        preset: A key of `PRESETS`.
        num_units: How many units the network has.
        num_blocks: K as the paper names it.

    Returns:
        Units per block; with `man` and `mlaan` one block fewer than named at K=16 and K=55.

    Raises:
        InputError: There is no such preset, or none for this network and K.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(f"There are no published cuts named {preset!r}. {hint}The presets are {', '.join(PRESETS)}.")
    table = PRESETS[preset]
    if num_blocks is None or (num_units, num_blocks) not in table:
        offered = ", ".join(f"K={blocks}" for units, blocks in sorted(table) if units == num_units)
        raise InputError(
            f"The preset {preset!r} has no cut of {num_units} units into {num_blocks} blocks; "
            + (
                f"it has {offered}."
                if offered
                else "it is for CIFAR ResNets of 16 or 55 units (ResNet-32, ResNet-110)."
            )
        )
    return table[num_units, num_blocks]
