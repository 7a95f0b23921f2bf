"""A segmentation data set that is drawn when it is read, and a network for it; stands in for a module of `datasets`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from locallearn.datasets.image_set import Splits
from locallearn.datasets.samples import SampleTransform
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError
from training.tiny_runs import recipe

CLASSES = ("dark", "grey", "bright")


@dataclass(frozen=True)
class Noise(SampleTransform):
    """Noise and mirrors.

    Args:
        crop: Height and width that are cut out of the middle.
        noise: Deviation of what is added, in pixels
            of 0 to 255.
    """

    crop: tuple[int, int] | None = (8, 12)
    noise: float = 4.0

    def __post_init__(self):
        if self.noise < 0:
            raise InputError(f"augmentation.noise must be at least 0, not {self.noise}.")

    def training(self, spec):
        return Varied(self.crop, self.noise)

    def testing(self, spec):
        return Varied(None, 0.0)


@dataclass(frozen=True)
class Varied:
    crop: tuple[int, int] | None
    noise: float

    def __call__(self, image, target):
        image = image.float() + self.noise * torch.randn(image.shape)
        if self.noise and torch.rand(()) < 0.5:
            image, target = image.flip(2), target.flip(1)
        if self.crop:
            image, target = image[:, : self.crop[0], : self.crop[1]], target[: self.crop[0], : self.crop[1]]
        return image / 255 - 0.5, target


class Maps:
    """Rectangles of three shades; the frame does not count."""

    classes = CLASSES

    def __init__(self, count, split, broken=None, *, ragged=False):
        self.count, self.split, self.broken, self.ragged = count, split, broken, ragged

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.broken:
            raise InputError(f"/data/{index}.png cannot be decoded: put the original back.")
        draws = torch.Generator().manual_seed(1000 * self.split + index)
        coarse = torch.randint(3, (6 if self.ragged and index % 3 else 5, 7), generator=draws)
        labels = coarse.repeat_interleave(2, 0).repeat_interleave(2, 1)
        image = (40 + 80 * labels).to(torch.uint8).expand(3, -1, -1)
        labels = labels.clone()
        labels[0] = 255
        return image, labels


SPEC = DatasetSpec(
    name="tiny_maps",
    title="Tiny maps",
    classes=CLASSES,
    shape=(3, 8, 12),
    mean=(0.5,) * 3,
    std=(1.0,) * 3,
    augmentation=Noise(),
    source="drawn",
    licence="none",
    files="nothing",
    address="nowhere",
    task="segmentation",
)
BROKEN = None
BROKEN_TEST = None
RAGGED = False


def open_splits(spec, root, *, download):
    if root is not None:
        raise InputError(f"{root} holds no maps.")
    return Splits(spec, Maps(26, 0, BROKEN), Maps(6, 1), Maps(9, 2, BROKEN_TEST, ragged=RAGGED))


def mapper(num_classes):
    """Logits for every pixel at half the resolution."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(6, 6, 3, padding=1, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, num_classes, 1),
    )


def mapping(*, workers=0, augmentation=None, training=None, network=None, **fields):
    """A recipe whose last batch of an epoch is smaller."""
    return recipe(
        dataset={"name": "tiny_maps", "workers": workers, "augmentation": augmentation or {}},
        network=network or {"name": "training.tiny_maps:mapper"},
        training={"batch_size": 4, "lr": 0.05, "schedule": {"name": "poly"}} | (training or {}),
        **fields,
    )
