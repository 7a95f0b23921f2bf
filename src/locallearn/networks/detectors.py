"""torchvision's detectors over ResNets of any width, at the size of one's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from locallearn.errors import InputError
from locallearn.networks.feature_pyramid import feature_pyramid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_BY_SMALLEST = 1333 / 800
_POOLED = 7
_LEVELS = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


@dataclass(frozen=True)
class _Size:
    """What a detector's heads and its choice of regions cost.

    Args:
        channels: Of the pyramid, and of Mask R-CNN's mask head.
        hidden: Numbers between the two layers of the box head.
        mask_layers: 3x3 convolutions before the mask predictor.
        regions: Most regions proposed per image in training, before and after overlapping ones are dropped, and the
            same in evaluation.
        samples: Anchors and regions per image that the losses read.
    """

    channels: int
    hidden: int
    mask_layers: int
    regions: tuple[int, int, int, int]
    samples: tuple[int, int]


_SIZES = {
    "full": _Size(256, 1024, 4, (2000, 2000, 1000, 1000), (256, 512)),
    "small": _Size(64, 256, 2, (300, 150, 300, 100), (64, 32)),
}


def mask_rcnn(
    num_classes: int,
    backbone: str = "resnet34",
    image_size: int = 800,
    weights_backbone: str | None = None,
    trainable_layers: int = 5,
    heads: Literal["full", "small"] = "full",
    frozen_norm: bool | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> MaskRCNN:
    """Mask R-CNN with a feature pyramid.

    Args:
        num_classes: Classes of objects, without background; labels are 1 to `num_classes`.
        backbone: A ResNet of torchvision, `slim_resnet10` or `slim_resnet18`.
        image_size: Pixels to which an image's shorter side is brought; the longer is at most 1333/800 of it.
        weights_backbone: A name of torchvision's weights such as `"IMAGENET1K_V1"`, or the path of a .safetensors file
            of the same ResNet trained as a classifier, whose last layer is left out.
        trainable_layers: How many of stem and four stages learn, counted from the end; 0 freezes all weights of
            the body, but not the running statistics of its BatchNorms: see `frozen_norm`.
        heads: `"full"`: torchvision's, with its anchors of 32 to 512 pixels. `"small"`: a quarter of the channels,
            fewer regions, and anchors of 1/8 to 1.4 of `image_size`, two sizes on each of the five maps.
        frozen_norm: Whether the body's BatchNorms keep statistics and weights; None: if there are `weights_backbone`.
            Without, they normalise by each batch in training, also in stages that do not learn.
        mean: Per channel, subtracted from images in [0, 1] by the detector itself.
        std: Per channel, dividing what is left.

    Returns:
        The network. In training it takes images and targets and returns losses; in evaluation, images alone.

    Raises:
        InputError: A name, number or file cannot be used.

    Source: He et al. Mask R-CNN. ICCV 2017; torchvision, models/detection/mask_rcnn.py.
    """
    size = _checked(num_classes, image_size, heads)
    pyramid = feature_pyramid(
        backbone,
        channels=size.channels,
        returned=(1, 2, 3, 4),
        extra=LastLevelMaxPool(),
        weights=weights_backbone,
        trainable_layers=trainable_layers,
        frozen_norm=frozen_norm,
    )
    before, kept, tested_before, tested = size.regions
    return MaskRCNN(
        pyramid,
        **_images(image_size, mean, std),
        rpn_anchor_generator=None if heads == "full" else _anchors(image_size, 2),
        rpn_pre_nms_top_n_train=before,
        rpn_post_nms_top_n_train=kept,
        rpn_pre_nms_top_n_test=tested_before,
        rpn_post_nms_top_n_test=tested,
        rpn_batch_size_per_image=size.samples[0],
        box_batch_size_per_image=size.samples[1],
        box_head=TwoMLPHead(size.channels * _POOLED**2, size.hidden),
        box_predictor=FastRCNNPredictor(size.hidden, num_classes + 1),
        mask_head=MaskRCNNHeads(size.channels, (size.channels,) * size.mask_layers, 1),
        mask_predictor=MaskRCNNPredictor(size.channels, size.channels, num_classes + 1),
    )


def retinanet(
    num_classes: int,
    backbone: str = "resnet34",
    image_size: int = 800,
    weights_backbone: str | None = None,
    trainable_layers: int = 5,
    heads: Literal["full", "small"] = "full",
    frozen_norm: bool | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> RetinaNet:
    """RetinaNet with a feature pyramid over the last three stages.

    Args:
        num_classes: See `mask_rcnn`.
        backbone: See `mask_rcnn`.
        image_size: See `mask_rcnn`.
        weights_backbone: See `mask_rcnn`.
        trainable_layers: See `mask_rcnn`.
        heads: `"full"`: torchvision's. `"small"`: a quarter of the channels, and anchors of 1/8 to 1.6 of `image_size`,
            three sizes on each of the five maps.
        frozen_norm: See `mask_rcnn`.
        mean: See `mask_rcnn`.
        std: See `mask_rcnn`.

    Returns:
        The network; it finds boxes and no masks.

    Raises:
        InputError: A name, number or file cannot be used.

    Source: Lin et al. Focal Loss for Dense Object Detection. ICCV 2017; torchvision, models/detection/retinanet.py.
    """
    channels = _checked(num_classes, image_size, heads).channels
    pyramid = feature_pyramid(
        backbone,
        channels=channels,
        returned=(2, 3, 4),
        extra=LastLevelP6P7(channels, channels),
        weights=weights_backbone,
        trainable_layers=trainable_layers,
        frozen_norm=frozen_norm,
    )
    anchors = None if heads == "full" else _anchors(image_size, 3)
    return RetinaNet(pyramid, num_classes + 1, **_images(image_size, mean, std), anchor_generator=anchors)


def _checked(num_classes: int, image_size: int, heads: str) -> _Size:
    if heads not in _SIZES:
        raise InputError(f"heads must be 'full' or 'small', not {heads!r}.")
    if not isinstance(image_size, int) or image_size < 32:
        raise InputError(f"image_size must be at least 32 pixels, not {image_size!r}.")
    if num_classes < 1:
        raise InputError(
            f"num_classes must be at least 1, the classes of objects without background, not {num_classes}."
        )
    return _SIZES[heads]


def _images(image_size: int, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    largest = round(image_size * LARGEST_BY_SMALLEST)
    return {"min_size": image_size, "max_size": largest, "image_mean": list(mean), "image_std": list(std)}


def _anchors(image_size: int, count: int) -> AnchorGenerator:
    """So many sizes on each of the five maps, evenly within a factor of two, each at three aspect ratios."""
    sizes = [tuple(round(image_size * share * 2 ** (step / count)) for step in range(count)) for share in _LEVELS]
    return AnchorGenerator(tuple(sizes), ((0.5, 1.0, 2.0),) * len(sizes))
