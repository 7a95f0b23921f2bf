"""A network in pieces that are run once, whatever windows overlap there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from locallearn.abstract_method import Window


@dataclass(frozen=True)
class Segment:
    """Blocks between two neighbouring borders of windows.

    Args:
        start: Index of the first block.
        stop: One past the index of the last.
        windows: Indices of the windows that cover the segment, in the order in which they end.
    """

    start: int
    stop: int
    windows: tuple[int, ...]


@dataclass
class Pass:
    """One run of a segment, with the graph from `entry` to `output`."""

    segment: Segment
    entry: Tensor
    output: Tensor
    gradient: list[Tensor] = field(default_factory=list)


def segments(windows: Sequence[Window], borders: Sequence[int] = ()) -> tuple[Segment, ...]:
    """Cut a network wherever a window starts or stops.

    Args:
        windows: All of them, in the order in which they end.
        borders: Further places to cut at, each the index of the block behind it.

    Returns:
        The segments in order.
    """
    places = sorted({*borders, *(place for window in windows for place in (window.start, window.stop))})
    found = []
    for start, stop in pairwise(places):
        covering = tuple(i for i, window in enumerate(windows) if window.start <= start and window.stop >= stop)
        found.append(Segment(start, stop, covering))
    return tuple(found)
