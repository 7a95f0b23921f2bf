"""Masks as COCO writes them: the lengths of runs of 0 and 1 in turn, down the columns."""

from __future__ import annotations

from typing import Any

import numpy as np

# A character holds 5 bits of a number, least first; from the fourth on a number is less the one before the last.
_OFFSET, _DIGIT, _SIGN, _MORE = 48, 0x1F, 0x10, 0x20


def covers(counts: Any, pixels: int) -> bool:
    """Whether run lengths are such, and are those of a mask of a size.

    pycocotools does not ask: of a mask whose runs end too early it returns the rest as memory happened to be.

    Args:
        counts: A list of numbers, or pycocotools' compressed string of them.
        pixels: Height times width.

    Returns:
        True if no run is negative and together they are as long as the mask.
    """
    if isinstance(counts, str):
        runs = _decompressed(counts)
        return runs is not None and bool((runs >= 0).all()) and int(runs.sum()) == pixels
    if not isinstance(counts, list) or not all(type(each) is int and 0 <= each <= pixels for each in counts):
        return False
    return sum(counts) == pixels


def _decompressed(text: str) -> np.ndarray | None:
    """The numbers in a string, or None if it holds none."""
    if not text.isascii() or not text:
        return None
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - _OFFSET
    last = (codes & _MORE) == 0
    if codes.min() < 0 or codes.max() > _MORE + _DIGIT or not last[-1]:
        return None
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    lengths = np.diff(np.append(starts, len(codes)))
    if lengths.max() > 6:
        return None
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & _DIGIT) << shifts, starts)
    negative = (codes[last] & _SIGN) != 0
    values -= np.where(negative, 1 << 5 * lengths, 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values
