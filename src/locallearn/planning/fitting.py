"""Sizes with units, and the search for the largest number whose cost fits."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from locallearn.errors import InputError

_UNITS = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}


def parsed_bytes(size: int | str) -> int:
    """A number of bytes, perhaps with a unit.

    Args:
        size: Bytes, or a text such as `8GiB`, `500 MB`.

    Returns:
        Bytes.

    Raises:
        InputError: This is no size, or not above 0.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", str(size))
    unit = found.group(2).lower() if found else None
    if found is None or unit not in _UNITS or (parsed := int(float(found.group(1)) * _UNITS[unit])) < 1:
        raise InputError(f"{size!r} is no amount of memory; write it as 8GiB, 8GB, 500MiB, 500MB or a number of bytes.")
    return parsed


def written_bytes(size: float) -> str:
    """A number of bytes for people.

    Args:
        size: Bytes.

    Returns:
        In KiB below one MiB, in GiB from ten GiB on, else in MiB; a dash for nothing.
    """
    if size == 0:
        return "-"
    if abs(size) < 2**20:
        return f"{size / 2**10:,.1f} KiB"
    return f"{size / 2**30:,.2f} GiB" if abs(size) >= 10 * 2**30 else f"{size / 2**20:,.1f} MiB"


def largest_fitting(
    cost_of: Callable[[int], int], low: int, high: int, limit: int, *, guess: int | None = None
) -> int | None:
    """The largest whole number whose cost is within a limit; costs rise with the number.

    Both neighbours of the border are tried, few others: costs are taken to lie near straight lines.

    Args:
        cost_of: Cost of a number.
        low: The smallest number.
        high: The largest.
        limit: What the cost may be.
        guess: Where to look first.

    Returns:
        The number, None if not even the smallest fits.
    """
    cost_of = functools.cache(cost_of)
    if guess is not None:
        guess = min(max(guess, low), high)
        if cost_of(guess) <= limit:
            low = guess
            high = guess + 1 if guess < high and cost_of(guess + 1) > limit else high
        else:
            high = guess
            low = guess - 1 if guess > low and cost_of(guess - 1) <= limit else low
    if cost_of(low) > limit:
        return None
    if cost_of(high) <= limit:
        return high
    straight = True
    while high - low > 1:
        line = low + (limit - cost_of(low)) * (high - low) // (cost_of(high) - cost_of(low))
        middle = min(max(line, low + 1), high - 1) if straight else (low + high) // 2
        before = high - low
        low, high = (middle, high) if cost_of(middle) <= limit else (low, middle)
        straight = not straight or (high - low) * 4 <= before
    return low
