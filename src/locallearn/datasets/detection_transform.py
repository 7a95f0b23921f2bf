"""Training images of detection: mirrored, and brought nearer or farther, with their boxes and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from locallearn.datasets.samples import SampleTransform
from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from locallearn.datasets.samples import Transform
    from locallearn.datasets.spec import DatasetSpec


@dataclass(frozen=True, kw_only=True)
class DetectionTransform(SampleTransform):
    """Mirrors half of the training images and, if asked to, scales each by a factor drawn evenly, by torchvision.

    By default nothing is scaled. A scaled image keeps its size: where it has grown a part of it is cut out at random,
    where it has shrunk it is padded with grey on the right and below. Boxes are cut at the image's border; those of
    which nothing remains are dropped. Pixels become floats in [0, 1] and are not normalised, which detectors do
    themselves.

    Args:
        flip: Whether an image is mirrored left to right with probability 1/2.
        min_scale: The smallest factor.
        max_scale: The largest; 1 and 1, the defaults, leave the scale alone.

    Raises:
        InputError: The factors are not in order, or not positive.

    Source: torchvision, references/detection/presets.py: `RandomHorizontalFlip`; the scales of `ScaleJitter`, "lsj".
    Departures: torchvision's own recipe crops to 1024x1024 pixels; here images keep their size.
    """

    flip: bool = True
    min_scale: float = 1.0
    max_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= self.max_scale:
            raise InputError(
                f"augmentation.min_scale and max_scale must be positive and in order, not {self.min_scale} and "
                f"{self.max_scale}."
            )

    @override
    def training(self, spec: DatasetSpec) -> Transform:
        return _Varied(self)

    @override
    def testing(self, spec: DatasetSpec) -> Transform:
        return _as_floats


@dataclass(frozen=True)
class _Varied:
    """What training images go through."""

    fields: DetectionTransform

    def __call__(self, image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        import torch
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        size = (image.shape[-2], image.shape[-1])
        steps: list[Any] = [v2.RandomHorizontalFlip(0.5)] if self.fields.flip else []
        if (self.fields.min_scale, self.fields.max_scale) != (1.0, 1.0):
            steps += [
                v2.ScaleJitter(size, (self.fields.min_scale, self.fields.max_scale), antialias=True),
                _Padded(size),
                v2.RandomCrop(size),
                v2.ClampBoundingBoxes(),
            ]
        boxes = tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue, reportArgumentType]
            target["boxes"], format="XYXY", canvas_size=size
        )
        marked: dict[str, Any] = {"boxes": boxes}
        if "masks" in target:
            marked["masks"] = tv_tensors.Mask(target["masks"])
        if steps:
            image, marked = v2.Compose(steps)(tv_tensors.Image(image), marked)
        plain = {name: torch.Tensor.as_subclass(value, torch.Tensor) for name, value in marked.items()}
        return _as_floats(torch.Tensor.as_subclass(image, torch.Tensor), _whole(target | plain))


@dataclass(frozen=True)
class _Padded:
    """Pads on the right and below up to a size, with grey, also what is marked on an image."""

    size: tuple[int, int]

    def __call__(self, image: Any, marked: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        from torchvision.transforms.v2 import functional

        below, right = (max(0, want - have) for want, have in zip(self.size, image.shape[-2:], strict=True))
        edges = [0, 0, right, below]
        padded = {name: functional.pad(value, edges, fill=0) for name, value in marked.items()}
        return functional.pad(image, edges, fill=128), padded


def _whole(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the objects of whose box or mask less than a pixel is left."""
    boxes = target["boxes"]
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    if "masks" in target:
        kept &= target["masks"].flatten(1).any(1).bool()
    if kept.all():
        return target
    return {name: value[kept] if name != "image_id" else value for name, value in target.items()}


def _as_floats(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    return image.float() / 255, target
