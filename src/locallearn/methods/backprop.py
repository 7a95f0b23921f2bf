"""Ordinary back-propagation: one window over all blocks, so that the baseline is a method among methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from locallearn.abstract_method import Context, Method, Site, Window

if TYPE_CHECKING:
    from locallearn.abstract_method import Head
    from locallearn.objective import LocalObjective
    from locallearn.partitioning import Partition


@dataclass(frozen=True, kw_only=True)
class Backprop(Method):
    """End-to-end back-propagation of the task's loss.

    Source: Rumelhart, Hinton, Williams. Learning representations by back-propagating errors. Nature 1986. With
        `Execution(recompute="blocks")` it is activation checkpointing: Chen, Xu, Zhang, Guestrin. Training deep nets
        with sublinear memory cost. 2016.
    Departures: None.
    """

    has_objectives: ClassVar[bool] = False

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        return (Window(0, len(partition.blocks)),)

    @override
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        raise AssertionError("the only window of back-propagation ends at the network's output")
