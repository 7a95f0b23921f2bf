"""Data sets that are read sample by sample, and how a sample becomes what a network reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from locallearn.datasets.spec import DatasetSpec

    Transform = Callable[[Tensor, Any], tuple[Tensor, Any]]
    """From a decoded image, `(3, H, W)` uint8, and its target to a normalised float32 image and its own target.
    Draws from PyTorch's global random state, which `StreamedBatches` seeds for every sample."""


class Samples(Protocol):
    """Images that are decoded when they are asked for."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names; labels are indices into them."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """One sample, decoded.

        Args:
            index: Which one, from 0.

        Returns:
            An image, `(3, H, W)` uint8, and its target: an int (classification); `(H, W)` int64 class indices, 255
            where a pixel does not count (segmentation); or a dictionary with `boxes` (n, 4) float32 in pixels (x1, y1,
            x2, y2), `labels` (n,) int64 from 1, `masks` (n, H, W) uint8 and `image_id` (detection).
        """
        ...


@dataclass(frozen=True)
class ChosenSamples:
    """Some of the samples of a data set.

    Args:
        samples: All of them.
        indices: Which ones, in their order.
    """

    samples: Samples
    indices: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.samples.classes

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.samples[self.indices[index]]


class SampleTransform(ABC):
    """How samples are varied for training and brought to size for testing: a frozen dataclass of a data set's file.

    Its fields are what a recipe may change, under `[dataset.augmentation]`.
    """

    @abstractmethod
    def training(self, spec: DatasetSpec) -> Transform:
        """What training images go through.

        Args:
            spec: Whose mean and standard deviation are used.

        Returns:
            A transform that can be pickled.
        """

    @abstractmethod
    def testing(self, spec: DatasetSpec) -> Transform:
        """What test images go through; draws nothing.

        Args:
            spec: Whose mean and standard deviation are used.

        Returns:
            A transform that can be pickled.
        """
