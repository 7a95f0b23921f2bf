"""The batches of a split, whether its images lie in memory or are read one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from locallearn.datasets.batches import WHOLE, Batches, Part
from locallearn.datasets.image_set import ImageSet
from locallearn.datasets.samples import Samples, SampleTransform
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.datasets.streamed_batches import StreamedBatches
from locallearn.errors import InputError

AnyBatches = Batches | StreamedBatches
"""What an epoch is drawn from: `len()` batches, `count` samples, `device`, `epoch(index, start)`."""


@contextmanager
def closed_after(*several: AnyBatches | None) -> Iterator[None]:
    """End the processes that decode samples.

    Args:
        *several: Batches; images in memory have no such processes.

    Yields:
        None: While batches are drawn.
    """
    try:
        yield
    finally:
        for batches in several:
            if isinstance(batches, StreamedBatches):
                batches.close()


def augmented(spec: DatasetSpec, augmentation: Augmentation | SampleTransform) -> DatasetSpec:
    """A data set varied in another way than published.

    Args:
        spec: The data set.
        augmentation: How its training samples are varied, and its test samples brought to size.

    Returns:
        Its description with that augmentation and the shape that training samples then have.

    Raises:
        InputError: The transform cannot be applied.
    """
    if augmentation == spec.augmentation:
        return spec
    changed = replace(spec, augmentation=augmentation)
    if not isinstance(augmentation, SampleTransform) or spec.by_lists:
        return changed
    blank = torch.zeros(spec.shape, dtype=torch.uint8)
    target = 0 if spec.task == "classification" else torch.zeros(spec.shape[1:], dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):
        image, _ = augmentation.training(changed)(blank, target)
    channels, height, width = image.shape
    return replace(changed, shape=(channels, height, width))


def training_batches(
    part: ImageSet | Samples,
    batch_size: int,
    *,
    spec: DatasetSpec,
    seed: int,
    device: torch.device,
    workers: int = 0,
    drop_last: bool = False,
    rows: Part = WHOLE,
) -> AnyBatches:
    """Batches to train with: varied, in an order of its own every epoch.

    Args:
        part: The training images.
        batch_size: Images per batch.
        spec: Normalisation and augmentation.
        seed: Not negative.
        device: Where batches are wanted.
        workers: Processes that decode samples; images in memory need none.
        drop_last: Whether an epoch leaves out a last, smaller batch.
        rows: Which share of every batch is given here.

    Returns:
        The batches.

    Raises:
        InputError: Images, batch size or seed do not fit.
    """
    common: dict[str, Any] = {"seed": seed, "device": device, "shuffle": True, "drop_last": drop_last, "rows": rows}
    augmentation = spec.augmentation
    if isinstance(part, ImageSet):
        return Batches(part, batch_size, spec=spec, augmentation=_of_images(augmentation, spec), **common)
    transform = _of_samples(augmentation, spec).training(spec)
    return StreamedBatches(part, batch_size, transform=transform, workers=workers, as_lists=spec.by_lists, **common)


def evaluation_batches(
    part: ImageSet | Samples,
    batch_size: int,
    *,
    spec: DatasetSpec,
    device: torch.device,
    workers: int = 0,
    dealt: Part = WHOLE,
) -> AnyBatches:
    """Batches to test with: as they are, every one, in the set's own order; where sizes differ, smaller ones.

    Args:
        part: The images.
        batch_size: Images per batch.
        spec: Normalisation, and how samples are brought to size.
        device: Where batches are wanted.
        workers: Processes that decode samples; images in memory need none.
        dealt: Which of the batches are given here: every so many.

    Returns:
        The batches.

    Raises:
        InputError: Images or batch size do not fit.
    """
    common: dict[str, Any] = {"seed": 0, "device": device, "shuffle": False, "dealt": dealt}
    if isinstance(part, ImageSet):
        return Batches(part, batch_size, spec=spec, augmentation=None, **common)
    transform = _of_samples(spec.augmentation, spec).testing(spec)
    common |= {"as_lists": spec.by_lists, "by_size": True}
    return StreamedBatches(part, batch_size, transform=transform, workers=workers, **common)


def _of_images(augmentation: Augmentation | SampleTransform, spec: DatasetSpec) -> Augmentation:
    if isinstance(augmentation, Augmentation):
        return augmentation
    raise InputError(f"{spec.name} has images in memory, which {augmentation} cannot vary.")


def _of_samples(augmentation: Augmentation | SampleTransform, spec: DatasetSpec) -> SampleTransform:
    if isinstance(augmentation, SampleTransform):
        return augmentation
    raise InputError(f"{spec.name} has samples that are read one by one, which {augmentation} cannot vary.")
