"""Images and their label maps, transformed together; what is drawn comes from PyTorch's global random state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from locallearn.datasets.annotated_images import VOID
from locallearn.datasets.augmentation import normalize

if TYPE_CHECKING:
    from locallearn.datasets.scale_crop import ScaleCrop

TRIES = 10
BRIGHTNESS = 32 / 255
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 0.1


class Resized:
    """Images brought to one size and normalised; labels as they are.

    Args:
        size: Height and width; None for the image's own.
        mean: Per channel, of pixels in [0, 1].
        std: Likewise.
    """

    def __init__(self, size: tuple[int, int] | None, mean: Sequence[float], std: Sequence[float]) -> None:
        self.size, self.mean, self.std = size, mean, std

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Apply to one sample.

        Args:
            image: (3, H, W), uint8.
            labels: (H, W), int64.

        Returns:
            The image, (3, h, w) float32, and the labels.
        """
        if self.size is not None:
            image = transforms.resize(image, list(self.size), antialias=True)
        return normalize(image, self.mean, self.std), labels


class TrainingCrop:
    """A random crop of a randomly scaled sample.

    Args:
        options: What is varied, and how much.
        mean: Per channel, of pixels in [0, 1].
        std: Likewise.
    """

    def __init__(self, options: ScaleCrop, mean: Sequence[float], std: Sequence[float]) -> None:
        self.options, self.mean, self.std = options, mean, std

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Apply to one sample.

        Args:
            image: (3, H, W), uint8.
            labels: (H, W), int64.

        Returns:
            The image, (3, h, w) float32, and its labels, (h, w) int64, with (h, w) the size of the crop.
        """
        options = self.options
        image, labels = scaled(image, labels, options.size, _between(*options.scale))
        top, left = crop_corner(labels, options.crop, options.cat_max_ratio)
        height, width = options.crop
        rows, columns = slice(top, top + height), slice(left, left + width)
        image, labels = image[:, rows, columns], labels[rows, columns]
        if options.flip and _coin():
            image, labels = image.flip(2), labels.flip(1)
        if options.photometric:
            image = distorted(image)
        return padded(normalize(image, self.mean, self.std), labels, options.crop)


def scaled(image: Tensor, labels: Tensor, size: tuple[int, int] | None, factor: float) -> tuple[Tensor, Tensor]:
    """A sample at another size: bilinear the image, by the nearest pixel the labels.

    Args:
        image: (3, H, W), uint8.
        labels: (H, W), int64.
        size: Height and width to start from; None for the sample's own.
        factor: Of both sides.

    Returns:
        Image and labels, at least one pixel wide and high.
    """
    target = [max(1, round(side * factor)) for side in (size or labels.shape)]
    if target == list(labels.shape):
        return image, labels
    nearest = transforms.resize(labels[None], target, interpolation=InterpolationMode.NEAREST_EXACT)
    return transforms.resize(image, target, antialias=True), nearest[0]


def crop_corner(labels: Tensor, crop: tuple[int, int], most: float) -> tuple[int, int]:
    """Where a random crop starts in which no class has more than a share of the pixels that count.

    Args:
        labels: (H, W), int64.
        crop: Height and width; where they are larger than the map the crop starts at its edge.
        most: The largest share; 1 takes the first crop.

    Returns:
        Top and left; of the last of ten crops if none will do.
    """
    spare = [max(side - wanted, 0) for side, wanted in zip(labels.shape, crop, strict=True)]
    top = left = 0
    for _ in range(TRIES):
        top, left = (int(torch.randint(room + 1, ())) for room in spare)
        if most == 1 or not any(spare):
            break
        inside = labels[top : top + crop[0], left : left + crop[1]]
        _, counts = inside[inside != VOID].unique(return_counts=True)
        if len(counts) > 1 and counts.max() < most * counts.sum():
            break
    return top, left


def distorted(image: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue changed, each with probability 1/2.

    Brightness is added, from -32 to 32 of 255; contrast multiplies all channels, before or after the other two with
    equal probability; saturation is scaled, both by 0.5 to 1.5; hue is turned by up to a tenth of the circle.

    Args:
        image: (3, H, W), uint8.

    Returns:
        The same shape and type.

    Source: mmsegmentation 0.10.0, PhotoMetricDistortion.
    Departures: saturation blends with grey instead of scaling the S of HSV.
    """
    pixels = image.float() / 255
    if _coin():
        pixels = (pixels + _between(-BRIGHTNESS, BRIGHTNESS)).clamp(0, 1)
    first = _coin()
    if first:
        pixels = _contrasted(pixels)
    if _coin():
        pixels = transforms.adjust_saturation(pixels, _between(*SATURATION))
    if _coin():
        pixels = transforms.adjust_hue(pixels, _between(-HUE, HUE))
    if not first:
        pixels = _contrasted(pixels)
    return (pixels * 255).round().to(torch.uint8)


def padded(image: Tensor, labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A sample filled up at the bottom and right: zeros, which is the mean, and labels that do not count.

    Args:
        image: (3, H, W), normalised.
        labels: (H, W), int64.
        size: Height and width, at least the sample's.

    Returns:
        Image and labels of that size, contiguous.
    """
    room = (0, size[1] - labels.shape[1], 0, size[0] - labels.shape[0])
    return F.pad(image, room).contiguous(), F.pad(labels, room, value=VOID).contiguous()


def _contrasted(pixels: Tensor) -> Tensor:
    return (pixels * _between(*CONTRAST)).clamp(0, 1) if _coin() else pixels


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _coin() -> bool:
    return bool(torch.rand(()) < 0.5)
