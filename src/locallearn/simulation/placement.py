"""Which worker gets which blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from locallearn.errors import InputError, listed


def placed(times: Sequence[float], workers: int, speeds: Sequence[float] | None = None) -> tuple[range, ...]:
    """Spread a chain of blocks over workers so that the slowest worker is as fast as possible.

    Of all ways to give every worker a run of neighbouring blocks, at least one, the one whose largest
    `sum(times of its blocks) / speed` is smallest; among those, the one with the smallest sum of squares. Exact, by
    dynamic programming in O(workers x blocks^2).

    Args:
        times: Time of each block on a worker of speed 1, in any unit.
        workers: How many workers share the blocks, in the order of the chain.
        speeds: How fast each worker is; all alike if None.

    Returns:
        For each worker the blocks it gets.

    Raises:
        InputError: There are more workers than blocks, or a number makes no sense.

    Example:
        >>> placed([1.0, 1.0, 1.0, 3.0], 2)
        (range(0, 3), range(3, 4))
    """
    _check(times, workers, speeds)
    speeds = [1.0] * workers if speeds is None else speeds
    ends = np.concatenate([[0.0], np.cumsum(np.asarray(times, dtype=np.float64))])
    loads = ends[np.newaxis, :] - ends[:, np.newaxis]
    loads[np.tril_indices(len(ends))] = np.inf  # nobody gets nothing
    largest = _bottleneck(loads, speeds) * (1 + 1e-12)
    best = np.full(len(ends), np.inf)
    best[0] = 0.0
    starts = []
    for speed in speeds:
        own = np.where(loads / speed <= largest, loads / speed, np.inf)
        totals = best[:, np.newaxis] + own**2
        starts.append(totals.argmin(axis=0))
        best = totals.min(axis=0)
    runs, stop = [], len(times)
    for start in reversed(starts):
        runs.append(range(int(start[stop]), stop))
        stop = runs[-1].start
    return tuple(runs[::-1])


def _bottleneck(loads: np.ndarray, speeds: Sequence[float]) -> float:
    """The smallest largest time over all placements."""
    best = np.full(len(loads), np.inf)
    best[0] = 0.0
    for speed in speeds:
        best = np.maximum(best[:, np.newaxis], loads / speed).min(axis=0)
    return float(best[-1])


def _check(times: Sequence[float], workers: int, speeds: Sequence[float] | None) -> None:
    problems = []
    if not isinstance(workers, int) or workers < 1:
        problems.append(f"workers must be a whole number of at least 1, not {workers!r}.")
    elif workers > len(times):
        problems.append(
            f"{len(times)} blocks are too few for {workers} workers: cut more blocks, or use fewer workers."
        )
    elif speeds is not None and len(speeds) != workers:
        problems.append(f"There are {workers} workers, but {len(speeds)} speeds: give one for each.")
    if wrong := [time for time in times if not (math.isfinite(time) and time >= 0)]:
        problems.append(f"Times of blocks must be finite and not negative, not {wrong[0]!r}.")
    if wrong := [speed for speed in speeds or () if not (math.isfinite(speed) and speed > 0)]:
        problems.append(f"Speeds of workers must be finite and above 0, not {wrong[0]!r}.")
    if problems:
        raise InputError(listed(problems))
