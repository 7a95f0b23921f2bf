"""The batches of an epoch, the same for the same seed wherever a run is resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from locallearn.datasets.augmentation import Draws, apply, draw, normalize
from locallearn.datasets.image_set import ImageSet
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.errors import InputError, listed


@dataclass(frozen=True)
class Part:
    """One of several shares that processes take of the same thing.

    Args:
        index: Which, from 0.
        count: How many there are.
    """

    index: int
    count: int

    def size(self, samples: int) -> int:
        """How many of a batch's samples are in this share.

        Args:
            samples: In the batch.

        Returns:
            As many as `rows` gives.
        """
        return samples // self.count + (self.index < samples % self.count)

    def rows(self, batch: Tensor) -> Tensor:
        """This share of a batch: neighbouring rows, as many as the others' or one more or less.

        Args:
            batch: `(N, ...)`.

        Returns:
            A view.
        """
        return batch.tensor_split(self.count)[self.index]


WHOLE = Part(0, 1)
"""What a process takes that is alone."""


class Batches:
    """Normalised batches of an image set, on the device that trains.

    The order of an epoch depends only on (seed, epoch), the augmentation of a batch only on (seed, epoch, batch), so
    that a run resumed mid-epoch needs no random state. Both are drawn on the CPU: every device sees the same batches.
    The whole set is moved to the device once.

    Args:
        images: What to draw from.
        batch_size: Images per batch.
        spec: Whose mean and standard deviation are used.
        seed: Not negative.
        augmentation: How images are varied, or None for not at all (testing).
        device: Where batches are made.
        shuffle: Whether every epoch has its own order, or all have the set's.
        drop_last: Whether an epoch leaves out a last, smaller batch.
        rows: Which share of every batch is given here.
        dealt: Which of the batches are given here: every so many.

    Raises:
        InputError: There are no images or too few for a batch, they have another shape than the data set's, the batch
            size is not positive, or the seed is negative.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        spec: DatasetSpec,
        seed: int,
        augmentation: Augmentation | None,
        device: torch.device | str,
        shuffle: bool,
        drop_last: bool = False,
        rows: Part = WHOLE,
        dealt: Part = WHOLE,
    ) -> None:
        shape = tuple(images.images.shape[1:])
        problems = {
            "There are no images to draw batches from.": not len(images),
            f"The images are {shape}; {spec.name} has {spec.shape}.": shape != spec.shape,
            f"batch_size must be at least 1, not {batch_size}.": batch_size < 1,
            f"batch_size {batch_size} is more than the {len(images)} images, and drop_last leaves none.": (
                drop_last and 0 < len(images) < batch_size
            ),
            f"seed must be at least 0, not {seed}.": seed < 0,
        }
        if any(problems.values()):
            raise InputError(listed([problem for problem, found in problems.items() if found]))
        self.images = images.images.to(device)
        self.labels = images.labels.to(device)
        self.batch_size = batch_size
        self.spec = spec
        self.seed = seed
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.rows, self.dealt = rows, dealt
        self.count = len(images) - len(images) % batch_size if drop_last else len(images)

    @property
    def device(self) -> torch.device:
        """Where batches are made."""
        return self.images.device

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(self.count / self.batch_size)

    def epoch(self, index: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch.

        Args:
            index: Which epoch, from 0.
            start: The first batch to give; those before are neither made nor counted.

        Returns:
            Pairs of inputs (N, C, H, W), float32, normalised, and targets (N,), int64.

        Raises:
            InputError: `index` is negative, or the epoch has no batch `start` and does not end there.
        """
        check_place(index, start, len(self))
        chosen = self._order(index)[: self.count].split(self.batch_size)
        numbers = range(start, len(self))[self.dealt.index :: self.dealt.count]
        return (self._batch(index, batch, chosen[batch]) for batch in numbers)

    def _batch(self, epoch: int, batch: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
        own = self.rows.rows(chosen)
        images = self.images[own]
        if self.augmentation is not None:
            # Drawn for the whole batch, so that an image is varied alike wherever it is trained on.
            drawn = draw(len(chosen), self.augmentation, _generator(self.seed, epoch, 1 + batch))
            images = apply(images, self.augmentation, Draws(*map(self.rows.rows, drawn)))
        return normalize(images, self.spec.mean, self.spec.std), self.labels[own]

    def _order(self, epoch: int) -> Tensor:
        # The positions of all images in the order of the epoch.
        count = len(self.images)
        if not self.shuffle:
            return torch.arange(count, device=self.images.device)
        return epoch_order(count, self.seed, epoch).to(self.images.device)


def check_place(epoch: int, start: int, count: int) -> None:
    """Refuse an epoch or batch that there is not.

    Args:
        epoch: Which epoch, from 0.
        start: The batch to begin with, from 0.
        count: Batches per epoch.

    Raises:
        InputError: `epoch` is negative, or the epoch has no batch `start` and does not end there.
    """
    if epoch < 0 or not 0 <= start <= count:
        raise InputError(f"There is no epoch {epoch}, batch {start}: epochs count from 0, with {count} batches each.")


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, which nothing else has a part in.

    Args:
        count: How many samples there are.
        seed: The run's seed.
        epoch: Which epoch, from 0.

    Returns:
        (count,), int64, on the CPU: every position once.
    """
    return torch.randperm(count, generator=_generator(seed, epoch, 0), device="cpu")


def key_seed(*key: int) -> int:
    """A seed of its own for every key; sums or products of keys would share streams between seeds.

    Args:
        *key: Not negative.

    Returns:
        A number below 2^32.
    """
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _generator(*key: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(key_seed(*key))
