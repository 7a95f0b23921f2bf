"""Rows of a result file joined over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

Rows = dict[str, list[dict[str, Any]]]
"""Rows of equal settings by their common name, one for each seed."""


def by_name(rows: Sequence[dict[str, Any]]) -> Rows:
    """Rows in groups.

    Args:
        rows: Of a result file.

    Returns:
        For each name its rows, by rising seed.
    """
    found: Rows = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        found.setdefault(row["name"], []).append(row)
    return {name: found[name] for name in dict.fromkeys(row["name"] for row in rows)}


def mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean at every place.

    Args:
        curves: One for each seed.

    Returns:
        None at places where any seed has none.
    """
    return [None if None in column else statistics.fmean(column) for column in zip_longest(*curves)]


def spread_curve(curves: Sequence[Sequence[float | None]]) -> list[float]:
    """The sample's deviation at every place.

    Args:
        curves: One for each seed, at least two.

    Returns:
        0 at places where any seed has none.
    """
    return [0.0 if None in column else statistics.stdev(column) for column in zip_longest(*curves)]


def written(values: Sequence[float | None], places: int) -> str:
    """Values of several seeds as one cell.

    Args:
        values: One for each seed.
        places: Digits after the point.

    Returns:
        Mean and deviation; nothing where no seed has a value.
    """
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {statistics.stdev(known):.{places}f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.{places}f}{spread}"
