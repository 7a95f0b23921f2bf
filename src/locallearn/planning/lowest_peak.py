"""The cuts into a given number of blocks whose step holds the fewest bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from locallearn.errors import InputError
from locallearn.local_model import LocalModel
from locallearn.partitioning import Partition
from locallearn.partitioning.balance import balanced_sizes
from locallearn.planning.rehearsal import Rehearsal, Setting, ends

Sizes = tuple[int, ...]


def lowest_peak(rehearsal: Rehearsal, setting: Setting, num_blocks: int) -> Partition:
    """Search for the cuts with the lowest measured peak.

    Starts from blocks that keep equal bytes. From then on the block in which the peak lies gives units to others, as
    long as that lowers the measured peak; where windows overlap, any block. The search is greedy: it ends where no such
    move helps.

    Args:
        rehearsal: Runs the steps.
        setting: All of the step but the cuts.
        num_blocks: K.

    Returns:
        The best partition that was measured.

    Raises:
        InputError: There are fewer units than blocks, or the method suits none of the cuts.
    """
    count = len(rehearsal.whole.units)
    if not 1 <= num_blocks <= count:
        raise InputError(f"num_blocks must be 1 to {count}, the units of the network, not {num_blocks}.")
    search = _Search(rehearsal, setting)
    sizes = tuple(balanced_sizes(rehearsal.unit_bytes(setting.batch_size), num_blocks))
    while better := search.improved(sizes):
        sizes = better
    search.peak(sizes)
    if sizes not in search.found:
        raise InputError(f"{setting.method} does not suit blocks of {list(sizes)} units: {search.refused[sizes]}")
    return rehearsal.cut_at(sizes)


class _Search:
    """Measured peaks by sizes of blocks, and the block in which each lies."""

    def __init__(self, rehearsal: Rehearsal, setting: Setting) -> None:
        self._rehearsal, self._setting = rehearsal, setting
        self.found: dict[Sizes, tuple[int, range]] = {}
        self.refused: dict[Sizes, InputError] = {}

    def peak(self, sizes: Sizes) -> float:
        """Bytes alive at the peak, infinite where the method does not suit the cuts."""
        if sizes not in self.found and sizes not in self.refused:
            try:
                step, measured = self._rehearsal.local(self._rehearsal.cut_at(sizes), self._setting)
            except InputError as error:
                self.refused[sizes] = error
            else:
                self.found[sizes] = measured.peak.total, _held_at(measured.peak.part, step.model)
        return self.found[sizes][0] if sizes in self.found else float("inf")

    def improved(self, sizes: Sizes) -> Sizes | None:
        """The first smaller neighbour, or None if there is none."""
        peak = self.peak(sizes)
        suspects = self.found[sizes][1] if sizes in self.found else range(len(sizes))
        return next((other for other in _moves(sizes, suspects) if self.peak(other) < peak), None)


def _held_at(part: int | None, model: LocalModel) -> range:
    """The blocks that may hold what is alive in a part of the step: its own, or any where windows overlap."""
    if any(later.start < earlier.stop for earlier, later in pairwise(model.windows)):
        return range(len(model.partition.blocks))
    stops = [0, *ends(model)]
    return range(0) if part is None else range(stops[part], stops[part + 1])


def _moves(sizes: Sequence[int], suspects: range) -> Iterator[Sizes]:
    """Sizes in which a suspect gives units to a neighbour, and neighbours pass as many on; larger moves first."""
    for step in (4, 2, 1):
        for block in suspects:
            for towards in (1, -1):
                for taker in range(block + towards, len(sizes) if towards > 0 else -1, towards):
                    if sizes[block] > step:
                        moved = list(sizes)
                        moved[block] -= step
                        moved[taker] += step
                        yield tuple(moved)
