"""Images in memory, and the parts a data set is split into."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from locallearn.datasets.description import DatasetSpec
from locallearn.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images.

    Args:
        images: (N, C, H, W), uint8.
        labels: (N,), int64, indices into ``classes``.
        classes: The class names.

    Raises:
        InputError: Types, sizes or labels do not fit together.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise InputError(f"images are {images.dtype} {tuple(images.shape)}; give uint8 (N, C, H, W)")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise InputError(f"labels are {labels.dtype} {tuple(labels.shape)}; give int64 ({len(images)},)")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise InputError(f"labels reach from {labels.min()} to {labels.max()}; give 0 to {len(self.classes) - 1}")

    def __len__(self) -> int:
        return len(self.images)

    def select(self, indices: Tensor) -> ImageSet:
        """Some of the images, copied.

        Args:
            indices: (M,), int64, which ones and in which order.

        Returns:
            The M images with their labels.
        """
        return ImageSet(self.images[indices], self.labels[indices], self.classes)

    def counts(self) -> dict[str, int]:
        """How many images each class has.

        Returns:
            Class name to count, in the order of ``classes``.
        """
        counted = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counted, strict=True))


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set as a run uses it.

    Args:
        spec: Its description; ``len(spec.classes)`` is the number of outputs a network needs.
        train: What is trained on.
        validation: What was held out of the training images, or None.
        test: What is tested on.
    """

    spec: DatasetSpec
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet
