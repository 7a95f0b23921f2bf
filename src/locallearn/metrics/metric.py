"""The interface between evaluation and what it counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor


class Metric(ABC):
    """Counts over a data set; waits for the device only in `results`.

    `name` is that of the result by which epochs and runs are compared, and higher is better.
    """

    name: ClassVar[str]

    @abstractmethod
    def update(self, output: Any, targets: Any) -> None:
        """Take in one batch.

        Args:
            output: What the network returned in evaluation mode.
            targets: The batch's targets.
        """

    @abstractmethod
    def absorb(self, other: Any) -> None:
        """Take in what another metric counted, of other samples.

        Args:
            other: Of the same kind and as many classes.
        """

    @abstractmethod
    def results(self) -> dict[str, float]:
        """What was counted so far.

        Returns:
            Numbers by name, in percent; `name` is among them.
        """

    def by_class(self) -> dict[str, tuple[float, ...]]:
        """What was counted so far, apart for every class.

        Returns:
            Numbers by name, in percent, each in the order of the classes, NaN where a class does not occur; nothing
            where the metric does not tell classes apart.
        """
        return {}


def added(own: Tensor | None, more: Tensor | None) -> Tensor | None:
    """The sum of two counts, either of which may not have begun.

    Args:
        own: Tells the device.
        more: Of the same shape.

    Returns:
        A new tensor, or the one that there is.
    """
    if own is None or more is None:
        return more if own is None else own
    return own + more.to(own.device)
