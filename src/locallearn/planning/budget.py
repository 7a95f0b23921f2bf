"""Which cuts fit into a budget, and what would help where none do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from locallearn.errors import InputError
from locallearn.partitioning import Partition
from locallearn.partitioning.balance import balanced_sizes
from locallearn.planning.fitting import largest_fitting
from locallearn.planning.rehearsal import Rehearsal, Setting, ends
from locallearn.planning.step_meter import Measurement


@dataclass(frozen=True)
class Remedy:
    """A change that lowers the peak.

    Args:
        change: What to set.
        peak_bytes: Most bytes alive then.
        fits: Whether that is within the budget.
    """

    change: str
    peak_bytes: int
    fits: bool


@dataclass(frozen=True)
class Budget:
    """Whether a plan fits.

    Args:
        bytes: The budget.
        fits: Whether the plan's peak is within it.
        missing_bytes: By how much the peak is above it.
        largest_batch: The largest batch that fits with the same blocks, None if not even the smallest does or the
            plan's own fits.
        remedies: Other changes, each by itself and then all together, where the plan does not fit.
    """

    bytes: int
    fits: bool
    missing_bytes: int
    largest_batch: int | None
    remedies: tuple[Remedy, ...]


class _Cuts:
    """Sizes of blocks and the peaks they were measured to have."""

    def __init__(self, rehearsal: Rehearsal, setting: Setting, limit: int) -> None:
        self._rehearsal, self._setting, self._limit = rehearsal, setting, limit
        self._costs = rehearsal.unit_bytes(setting.batch_size)
        self.peaks: dict[tuple[int, ...], int] = {}
        self._refused: set[tuple[int, ...]] = set()
        self.count = len(self._costs)
        self._base, self._slope, self._at_end = 0.0, 1.0, [0.0] * self.count
        self._measure((1,) * self.count)
        self._measure((self.count,))

    def fitting(self, num_blocks: int) -> tuple[int, ...] | None:
        """Sizes of so many blocks whose measured peak is within the limit, None if none are found."""
        plain = balanced_sizes(self._costs, num_blocks)
        for sizes in dict.fromkeys((tuple(plain), tuple(self._modelled(num_blocks)))):
            self._measure(sizes)
            if self.peaks.get(sizes, self._limit + 1) <= self._limit:
                return sizes
        return None

    def least(self) -> int:
        """About the fewest blocks worth trying, by a model that may be wrong by a twentieth."""
        return bisect_left(range(1, self.count), True, key=lambda k: self._predicted(k) <= self._limit * 1.05) + 1

    def _measure(self, sizes: tuple[int, ...]) -> None:
        if sizes in self.peaks or sizes in self._refused:
            return
        try:
            step, measured = self._rehearsal.local(self._rehearsal.cut_at(sizes), self._setting)
        except InputError:
            self._refused.add(sizes)
            return
        self.peaks[sizes] = measured.peak.total
        if len(sizes) == self.count:
            self._calibrate(ends(step.model), measured)
        elif len(sizes) == 1:
            # Units share what lies at their borders, so that together they keep less.
            self._slope = min(max((measured.peak.total - self._base) / sum(self._costs), 0.1), 1.0)

    def _calibrate(self, stops: Sequence[int], measured: Measurement) -> None:
        """What a block holds beyond its units' activations is taken to depend on the unit where it ends."""
        beyond = [
            measured.peak_of(part) - sum(self._costs[start:stop])
            for part, (start, stop) in enumerate(pairwise([0, *stops]))
        ]
        self._base = min(beyond)
        self._at_end = [beyond[bisect_left(stops, unit + 1)] - self._base for unit in range(self.count)]

    def _modelled(self, num_blocks: int) -> list[int]:
        return balanced_sizes(self._costs, num_blocks, at_end=self._at_end)

    def _predicted(self, num_blocks: int) -> float:
        stops = list(accumulate(self._modelled(num_blocks)))
        blocks = pairwise([0, *stops])
        kept = max(self._slope * sum(self._costs[start:stop]) + self._at_end[stop - 1] for start, stop in blocks)
        return self._base + kept


def fewest_blocks(rehearsal: Rehearsal, setting: Setting, limit: int) -> Partition:
    """The cuts with the fewest blocks whose measured peak is within a limit.

    The answer is measured. A model calibrated on blocks of single units, which may be wrong, says with how few blocks
    to begin; from there on numbers of blocks are tried upwards, then from one if none fit, and at last downwards until
    one does not fit. Peaks need not fall with the number of blocks, so that a smaller number may be missed.

    Args:
        rehearsal: Runs the steps.
        setting: All of the step but the cuts.
        limit: Bytes.

    Returns:
        The partition; where nothing fits, the one with the lowest peak that was measured.

    Raises:
        InputError: The method suits no cuts of the network.
    """
    cuts = _Cuts(rehearsal, setting, limit)
    starts = dict.fromkeys((max(1, cuts.least() // 4), 1))
    found = (cuts.fitting(count) for start in starts for count in _ladder(start, cuts.count))
    sizes = next((sizes for sizes in found if sizes is not None), None)
    while sizes is not None and len(sizes) > 1 and (fewer := cuts.fitting(len(sizes) - 1)) is not None:
        sizes = fewer
    if sizes is None and not cuts.peaks:
        raise InputError(f"{setting.method} suits no cuts of {type(rehearsal.network).__name__}; plan with num_blocks.")
    return rehearsal.cut_at(sizes or min(cuts.peaks, key=cuts.peaks.__getitem__))


def _ladder(first: int, last: int) -> Iterator[int]:
    """Whole numbers, each about a third more than the one before."""
    count = first
    while count < last:
        yield count
        count += max(1, count // 3)
    yield last


def judged(rehearsal: Rehearsal, blocks: Partition, setting: Setting, measured: Measurement, limit: int) -> Budget:
    """Whether a measured step fits, and what would help.

    Args:
        rehearsal: Runs the steps.
        blocks: The network cut into blocks.
        setting: All the rest of the step.
        measured: The step.
        limit: Bytes.

    Returns:
        The judgement.
    """
    missing = measured.peak.total - limit
    if missing <= 0:
        return Budget(limit, True, 0, None, ())

    def peak(changed: Setting) -> int:
        return rehearsal.local(blocks, changed)[1].peak.total

    smallest = rehearsal.smallest_batch()
    batch = largest_fitting(
        lambda size: peak(replace(setting, batch_size=size)), min(smallest, setting.batch_size), setting.batch_size,
        limit,
    )  # fmt: skip
    return Budget(limit, False, missing, batch, tuple(_remedies(setting, measured.peak.total, limit, peak)))


def _remedies(setting: Setting, before: int, limit: int, peak: Callable[[Setting], int]) -> Iterator[Remedy]:
    """The changes that help, each by itself and then all of them."""
    helpful: dict[str, str] = {}
    for name, values in _CHANGES.items():
        lower = {value: peak(_changed(setting, {name: value})) for value in values if not _has(setting, name, value)}
        for value, bytes_then in lower.items():
            if bytes_then < before:
                helpful |= {name: value}
                yield Remedy(f"{name} {value}", bytes_then, bytes_then <= limit)
    if len(helpful) > 1:
        together = peak(_changed(setting, helpful))
        yield Remedy(" and ".join(f"{name} {value}" for name, value in helpful.items()), together, together <= limit)


_CHANGES = {
    "precision": ("bf16",),
    "execution.lean": ("in_place", "recompute"),
    "execution.recompute": ("branches", "blocks"),
}
"""What lowers the peak of some steps, the milder first."""


def _changed(setting: Setting, changes: Mapping[str, str]) -> Setting:
    for name, value in changes.items():
        place, _, field = name.rpartition(".")
        inner = replace(setting.execution, **{field: value}) if place else value
        setting = replace(setting, **{place or field: inner})
    return setting


def _has(setting: Setting, name: str, value: str) -> bool:
    return _changed(setting, {name: value}) == setting
