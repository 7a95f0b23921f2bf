"""Random resized crops to train on photographs, and a resized centre crop to test on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from locallearn.datasets.samples import SampleTransform
from locallearn.errors import InputError, listed

if TYPE_CHECKING:
    from torch import Tensor

    from locallearn.datasets.samples import Transform
    from locallearn.datasets.spec import DatasetSpec


@dataclass(frozen=True)
class ResizedCrop(SampleTransform):
    """A random part of the image, resized and perhaps mirrored; for testing the centre of the resized image.

    Resizing is bilinear with antialiasing, in 8 bits. The random part has an aspect ratio of 3/4 to 4/3.

    Args:
        size: Height and width of what the network reads.
        scale: The smallest and largest share of the image's area that a random part covers.
        flip: Whether a training image is mirrored left to right with probability 1/2.
        test_resize: What a test image's shorter side is resized to before the centre is cut out: 256 in the released
            code, 224 in the text of MAN's supplement.

    Raises:
        InputError: Sizes are not positive, the test image is smaller than its crop, or the shares are not
            0 < smallest <= largest <= 1.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch and https://github.com/JunhaoSu0/MAN, imagenet_DDP.py.

    Departures:
        The released code resizes PIL images; here tensors are resized, which differs by rounding.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    test_resize: int = 256

    def __post_init__(self) -> None:
        problems = []
        if self.size < 1:
            problems.append(f"augmentation.size must be at least 1, not {self.size}.")
        if self.test_resize < self.size:
            problems.append(f"augmentation.test_resize must be at least size = {self.size}, not {self.test_resize}.")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            problems.append(
                "augmentation.scale must be the smallest and largest share of an image's area, such as (0.08, 1.0), "
                f"not {self.scale}."
            )
        if problems:
            raise InputError(listed(problems))

    @override
    def training(self, spec: DatasetSpec) -> Transform:
        from torchvision.transforms import v2

        cropped = v2.RandomResizedCrop(self.size, self.scale, antialias=True)
        mirrored = [v2.RandomHorizontalFlip()] if self.flip else []
        return _ImageOnly(v2.Compose([cropped, *mirrored, *_normalized(spec)]))

    @override
    def testing(self, spec: DatasetSpec) -> Transform:
        from torchvision.transforms import v2

        centre = [v2.Resize(self.test_resize, antialias=True), v2.CenterCrop(self.size)]
        return _ImageOnly(v2.Compose([*centre, *_normalized(spec)]))


@dataclass(frozen=True)
class _ImageOnly:
    # A transform of the image that leaves the label as it is.
    transform: Callable[[Tensor], Tensor]

    def __call__(self, image: Tensor, target: Any) -> tuple[Tensor, Any]:
        return self.transform(image), target


def _normalized(spec: DatasetSpec) -> list[Callable[[Tensor], Tensor]]:
    import torch
    from torchvision.transforms import v2

    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
