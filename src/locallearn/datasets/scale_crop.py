"""Random scales, crops, mirrors and colours of images with a label for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from locallearn.datasets.samples import SampleTransform
from locallearn.errors import InputError, listed

if TYPE_CHECKING:
    from locallearn.datasets.samples import Transform
    from locallearn.datasets.spec import DatasetSpec


@dataclass(frozen=True)
class ScaleCrop(SampleTransform):
    """How street scenes are varied: scaled, cropped, mirrored half of the time, and their colours distorted.

    What a crop lacks is padded at the bottom and right: the image with its mean, the labels with 255. For testing
    images are brought to `size` and nothing else; labels stay as they are, so that results are counted at their own
    resolution.

    Args:
        crop: Height and width of what a training step reads.
        size: Height and width that every image is brought to first; None for its own.
        scale: The range of a random factor of that size.
        cat_max_ratio: The largest share of one class in a crop; up to ten crops are tried. 1 takes the first.
        flip: Whether an image is mirrored left to right with probability 1/2.
        photometric: Whether brightness, contrast, saturation and hue are changed, each with probability 1/2.

    Raises:
        InputError: A size or range is empty or not positive.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, segmentation, configs on Cityscapes (mmsegmentation
        0.10.0's Resize, RandomCrop, RandomFlip, PhotoMetricDistortion, Normalize, Pad).
    Departures: images are resized with antialiasing, where mmcv's bilinear resizing reads four pixels however much it
        shrinks; sides are rounded to the nearest pixel. Up to ten crops are tried, mmsegmentation's up to eleven; where
        the image is no larger than the crop, one. Distorted colours are rounded to 8 bits once, at the end, not after
        every step, and saturation blends with grey instead of scaling the S of HSV.
    """

    crop: tuple[int, int]
    size: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    cat_max_ratio: float = 0.75
    flip: bool = True
    photometric: bool = True

    def __post_init__(self) -> None:
        problems = [
            f"augmentation.{name} must be height and width, at least 1 each, not {value}."
            for name, value in (("crop", self.crop), ("size", self.size))
            if value is not None and (len(value) != 2 or min(value) < 1)
        ]
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            problems.append(f"augmentation.scale must be a range of positive factors, not {self.scale}.")
        if not 0 < self.cat_max_ratio <= 1:
            problems.append(f"augmentation.cat_max_ratio must be above 0 and at most 1, not {self.cat_max_ratio}.")
        if problems:
            raise InputError(listed(problems))

    @override
    def training(self, spec: DatasetSpec) -> Transform:
        from locallearn.datasets.pixel_transforms import TrainingCrop

        return TrainingCrop(self, spec.mean, spec.std)

    @override
    def testing(self, spec: DatasetSpec) -> Transform:
        from locallearn.datasets.pixel_transforms import Resized

        return Resized(self.size, spec.mean, spec.std)
