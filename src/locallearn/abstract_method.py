"""What a method is: which blocks are trained together, and by which objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from locallearn.errors import InputError
from locallearn.field_types import check_fields

if TYPE_CHECKING:
    from torch import nn

    from locallearn.objective import LocalObjective
    from locallearn.partitioning import Partition, Unit
    from locallearn.tasks import Task


class Window(NamedTuple):
    """Blocks `start` to `stop - 1`, trained together by one objective that reads the output of the last of them.

    Args:
        start: Index of the first block.
        stop: One past the index of the last block.
        role: Which of a method's kinds of window this is, e.g. `"local"`, `"independent"`, `"cascade"`.
        weight: Factor of the window's loss.
    """

    start: int
    stop: int
    role: str = "local"
    weight: float = 1.0


def one_window_per_block(num_blocks: int) -> tuple[Window, ...]:
    """The windows of plain local learning: every block alone.

    Args:
        num_blocks: K, the number of blocks.

    Returns:
        K windows of one block.
    """
    return tuple(Window(block, block + 1) for block in range(num_blocks))


@dataclass(frozen=True)
class Site:
    """Where an objective attaches.

    Args:
        index: The block at whose end the objective attaches, counted from 0.
        count: One past the largest such index; K-1 where every block is a window.
        unit: Index of the unit whose output the objective reads.
        shape: Shape of that output without the batch.
    """

    index: int
    count: int
    unit: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Context:
    """What an objective may know of its surroundings.

    Args:
        partition: The network cut into blocks.
        task: What the network is trained for.
    """

    partition: Partition
    task: Task

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units of the network in order."""
        return self.partition.units

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one network input, `(C, H, W)` for images."""
        return self.partition.input_shape


def sites(windows: Sequence[Window], partition: Partition) -> list[Site]:
    """Where the objectives of a method's windows attach.

    Args:
        windows: The method's windows.
        partition: The network cut into blocks.

    Returns:
        One site for each window that does not end at the network's output.
    """
    infos = [partition.infos[window.stop - 1] for window in windows if window.stop < len(partition.blocks)]
    count = max((info.index + 1 for info in infos), default=0)
    return [Site(info.index, count, info.units.stop - 1, info.out_shape) for info in infos]


if TYPE_CHECKING:
    Head = Callable[[Site, int], nn.Module]
    """Builds a prediction network from the features of a site to so many outputs."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to train a network in blocks; a frozen value whose fields are its hyper-parameters.

    `has_objectives` says whether the method has local objectives, which others can build on.

    Raises:
        InputError: A field that names one of several rules names none of them, or a number is of another type.
    """

    has_objectives: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        """Which blocks are trained together; the last window ends at the last block.

        Args:
            partition: The network cut into blocks.

        Returns:
            The windows in the order of their ends.
        """

    @abstractmethod
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        """The objective of a window that does not end at the network's output.

        Args:
            window: The blocks that the objective trains.
            site: Where it reads.
            context: Units, task and image shape.
            head: Builds the prediction network, in place of the method's own.

        Returns:
            A module that owns its auxiliary networks.
        """


@dataclass(frozen=True, kw_only=True)
class Wrapper(Method):
    """A method laid over another one, which owns the losses.

    Args:
        base: The other method.

    Raises:
        InputError: `base` is no method, or has no local objectives.
    """

    base: Method = field(kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not isinstance(self.base, Method):
            raise InputError(f"{name} is laid over another method, such as {name}(DGL()), not over {self.base!r}.")
        inner: Method | None = self.base
        while isinstance(inner, Wrapper):
            if type(inner) is type(self):
                raise InputError(f"{name} is laid over {name} already; give its fields once.")
            inner = inner.base
        if not self.base.has_objectives:
            raise InputError(
                f"{name} needs a base with local losses, and {type(self.base).__name__} has none; use DGL, PredSim or "
                "InfoPro."
            )
