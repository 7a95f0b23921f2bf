"""Images in memory, and the parts a data set is split into."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from locallearn.datasets.samples import ChosenSamples, Samples
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images.

    Args:
        images: (N, C, H, W), uint8.
        labels: (N,), int64, indices into `classes`.
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
            raise InputError(f"images must be uint8 (N, C, H, W), not {images.dtype} {tuple(images.shape)}.")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise InputError(f"labels must be int64 ({len(images)},), not {labels.dtype} {tuple(labels.shape)}.")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise InputError(f"labels must be 0 to {len(self.classes) - 1}, not {labels.min()} to {labels.max()}.")

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


def chosen(part: ImageSet | Samples, indices: Tensor) -> ImageSet | Samples:
    """Some images of a set.

    Args:
        part: Images in memory, or samples that are read one by one.
        indices: (M,), int64, which ones and in which order.

    Returns:
        The M images; samples are not read yet.
    """
    return part.select(indices) if isinstance(part, ImageSet) else ChosenSamples(part, tuple(indices.tolist()))


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set as a run uses it: images in memory, or samples that are read one by one.

    Args:
        spec: Its description; `len(spec.classes)` is the number of classes a network tells apart.
        train: What is trained on.
        validation: What was held out of the training images or comes with the data set for that, or None.
        test: What is tested on.
    """

    spec: DatasetSpec
    train: ImageSet | Samples
    validation: ImageSet | Samples | None
    test: ImageSet | Samples
