"""Detection of objects in images, with torchvision's detectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from typing_extensions import override

from locallearn.errors import InputError, listed
from locallearn.tasks.class_map import class_map
from locallearn.tasks.task import Task, described, too_few

if TYPE_CHECKING:
    from torchvision.models.detection.image_list import ImageList
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    from locallearn.metrics.average_precision import AveragePrecision

_ROUNDING = 1.0
"""Pixels by which a box may leave its image."""
_BRIGHTEST = 4.0
"""What resizing or noise makes of images in [0, 1] at most; images of 0 to 255 are almost black below."""


@dataclass(frozen=True, eq=False)
class Objects:
    """What a batch of images holds, at the size at which the detector reads it.

    Args:
        images: The normalised batch, padded, with the size of each image in it.
        targets: For each image `boxes` (n, 4) in pixels of the batch, `labels` (n,) from 1, perhaps `masks` (n, h, w).
    """

    images: ImageList
    targets: list[dict[str, Tensor]]


@dataclass(frozen=True)
class Detection(Task):
    r"""Boxes, classes and masks of objects; the network is a Mask R-CNN, Faster R-CNN or RetinaNet of torchvision.

    The network's loss is the sum of the detector's own losses, on its body's features. Blocks before the last learn
    from a dense head: each cell of their map is told apart into the classes and the background,

    .. math::
        L = \frac{1}{2} \sum_{c \in \{\mathrm{objects}, \mathrm{background}\}}
            \frac{\sum_i -\sum_{y \in c} p_{iy} \log q_{iy}}{\max(1, \sum_i \sum_{y \in c} p_{iy})}

    where :math:`p_{iy}` is the share of cell i that class y covers (see `class_map`) and :math:`q_{iy}` the head's
    softmax, so that objects and background count equally however much of the image is empty.

    Source: torchvision, models/detection/generalized_rcnn.py and retinanet.py, for the network's loss. The local loss
        is our own: the papers that train detectors by local losses do not print theirs.

    Args:
        num_classes: Classes of objects, without background; labels are 1 to `num_classes`.

    Raises:
        InputError: No class.
    """

    num_classes: int

    def __post_init__(self) -> None:
        _refuse(too_few("Detection", self.num_classes, 1, "class of objects, background not counted"))

    @property
    @override
    def num_outputs(self) -> int:
        return self.num_classes + 1

    @property
    @override
    def has_labels(self) -> bool:
        return False

    @override
    def fits(self, output_shape: tuple[int, ...]) -> bool:
        return False

    @override
    def check_network(self, network: nn.Module) -> None:
        heads: Any = getattr(network, "roi_heads", None)
        single: Any = getattr(getattr(network, "head", None), "classification_head", None)
        if not hasattr(network, "transform") or (heads is None and type(network).__name__ != "RetinaNet"):
            raise InputError(_no_detector(network))
        if heads is not None and heads.has_keypoint():
            raise InputError(f"{type(network).__name__} learns keypoints, which Detection's targets have not.")
        predictor = getattr(getattr(heads, "box_predictor", None), "cls_score", None)
        outputs = getattr(predictor, "out_features", getattr(single, "num_classes", None))
        if outputs not in (None, self.num_classes + 1):
            raise InputError(
                f"{type(network).__name__} tells {outputs} classes apart, background among them, and {self} needs "
                f"{self.num_classes + 1}: torchvision's num_classes counts the background, Detection's and "
                "networks.build's do not."
            )

    @override
    def enter(self, network: nn.Module, inputs: Sequence[Tensor], targets: Any) -> tuple[Tensor, Objects]:
        transform = transform_of(network)
        problems = _misfits(inputs, targets, len(transform.image_mean), learns_masks=_learns_masks(network))
        _refuse(problems or _out_of_range(inputs, targets, transform.image_mean))
        images, resized = transform(inputs, targets)
        if images.tensors.device.type != "cpu" and not isinstance(images.tensors, FakeTensor):
            _refuse_degenerate(resized)
        return images.tensors, Objects(images, resized)

    @override
    def check_targets(self, targets: Any, batch_size: int) -> None:
        if not isinstance(targets, Sequence) or len(targets) != batch_size or not batch_size:
            found = f"{len(targets)}" if isinstance(targets, Sequence) else type(targets).__name__
            raise InputError(f"Targets must be a list of one dictionary for each of {batch_size} images, not {found}.")
        _refuse([problem for i, target in enumerate(targets) for problem in self._problems(target, f"targets[{i}]")])
        if all(
            target["boxes"].device.type == "cpu" and not isinstance(target["boxes"], FakeTensor) for target in targets
        ):
            _refuse_degenerate(targets)
            _refuse([problem for i, t in enumerate(targets) for problem in self._bad_labels(t, f"targets[{i}]")])

    def _problems(self, target: Any, name: str) -> list[str]:
        """What is wrong with types and shapes."""
        if not isinstance(target, Mapping) or not {"boxes", "labels"} <= target.keys():
            given = sorted(target) if isinstance(target, Mapping) else target
            return [f"{name} must be a dictionary with boxes and labels, not {given!r}."]
        boxes, labels, masks = target["boxes"], target["labels"], target.get("masks")
        problems = []
        if not isinstance(boxes, Tensor) or not boxes.is_floating_point() or boxes.ndim != 2 or boxes.shape[1] != 4:
            return [f"{name}['boxes'] must be floating-point (n, 4), x1, y1, x2, y2 in pixels, not {described(boxes)}."]
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != boxes.shape[:1]:
            problems.append(f"{name}['labels'] must be torch.int64 ({len(boxes)},), not {described(labels)}.")
        if masks is not None and (not isinstance(masks, Tensor) or masks.ndim != 3 or len(masks) != len(boxes)):
            problems.append(f"{name}['masks'] must be ({len(boxes)}, H, W), not {described(masks)}.")
        return problems

    def _bad_labels(self, target: Mapping[str, Tensor], name: str) -> list[str]:
        labels = target["labels"]
        bad = labels[(labels < 1) | (labels > self.num_classes)].tolist()
        return [f"{name} has labels {bad[:5]}; those of objects are 1 to {self.num_classes}."] if bad else []

    @override
    def check_samples(self, network: nn.Module, samples: Any) -> None:
        if _learns_masks(network) and "masks" not in samples[0][1]:
            raise InputError(
                f"{samples} has no outlines (segmentation), from which {type(network).__name__} learns masks: take "
                "retinanet, which finds boxes alone, or annotations with outlines."
            )

    @override
    def head(self, shape: tuple[int, ...]) -> nn.Module:
        from locallearn.auxiliary.dense_head import DenseHead

        return DenseHead(shape, self.num_outputs)

    @override
    def loss(self, logits: Tensor, targets: Objects) -> Tensor:
        shares = class_map(targets.images.tensors.shape[-2:], targets.targets, self.num_outputs, logits.shape[-2:])
        losses = -shares.to(logits.dtype) * F.log_softmax(logits, 1)
        background, objects = (
            part.sum() / share.sum().clamp(min=1)
            for part, share in ((losses[:, :1], shares[:, :1]), (losses[:, 1:], shares[:, 1:]))
        )
        return (background + objects) / 2

    @override
    def output_loss(self, network: Any, output: Any, targets: Objects) -> Tensor:
        if not network.training:
            raise InputError(f"{type(network).__name__} has losses in training mode only; call train() before a step.")
        if not isinstance(output, Mapping) or not hasattr(network, "backbone"):
            raise InputError(_no_detector(network))
        features = network.backbone.fpn(OrderedDict(output))
        if hasattr(network, "roi_heads"):
            proposals, proposal_losses = network.rpn(targets.images, features, targets.targets)
            _, losses = network.roi_heads(features, proposals, targets.images.image_sizes, targets.targets)
            losses = losses | proposal_losses
        elif hasattr(network, "compute_loss") and hasattr(network, "anchor_generator"):
            maps = list(features.values())
            outputs = network.head(maps)
            losses = network.compute_loss(targets.targets, outputs, network.anchor_generator(targets.images, maps))
        else:
            raise InputError(_no_detector(network))
        return reduce(torch.add, losses.values())

    @override
    def hits(self, logits: Tensor, targets: Any) -> None:
        return None

    @override
    def blank_targets(self, inputs: Tensor) -> list[dict[str, Tensor]]:
        return [_one_object(image) for image in inputs]

    @override
    def metric(self) -> AveragePrecision:
        from locallearn.metrics.average_precision import AveragePrecision

        return AveragePrecision(self.num_classes)

    @override
    def labels(self, targets: Any) -> Tensor:
        raise InputError("Images have no single class in detection; use a method that compares no samples.")


def transform_of(network: nn.Module) -> GeneralizedRCNNTransform:
    """What a detector does to images before its body reads them.

    Args:
        network: A detector of torchvision.

    Returns:
        Its module that normalises, resizes and pads.

    Raises:
        InputError: The network has none.
    """
    transform: Any = getattr(network, "transform", None)
    if transform is None:
        raise InputError(_no_detector(network))
    return transform


def _one_object(image: Tensor) -> dict[str, Tensor]:
    box = image.new_zeros(1, 4)
    box[:, 2], box[:, 3] = image.shape[-1], image.shape[-2]
    labels = torch.ones(1, dtype=torch.int64, device=image.device)
    return {"boxes": box, "labels": labels, "masks": torch.ones_like(image[:1], dtype=torch.uint8)}


def _refuse_degenerate(targets: Sequence[Mapping[str, Tensor]]) -> None:
    """Refuse boxes without area or with numbers that are none, as torchvision does; one wait for the device."""
    counts = [len(target["boxes"]) for target in targets]
    boxes = torch.cat([target["boxes"] for target in targets])
    bad = ~((boxes[:, 2:] > boxes[:, :2]).all(1) & boxes.isfinite().all(1))
    if bad.any():
        places = [(image, box) for image, count in enumerate(counts) for box in range(count)]
        rows = bad.nonzero()[:, 0].tolist()
        _refuse(
            [
                f"targets[{places[row][0]}]['boxes'][{places[row][1]}] is {boxes[row].tolist()}, no box."
                for row in rows[:5]
            ]
        )


def _learns_masks(network: nn.Module) -> bool:
    roi_heads: Any = getattr(network, "roi_heads", None)
    return roi_heads is not None and roi_heads.has_mask()


def _misfits(images: Sequence[Any], targets: Sequence[Any], channels: int, *, learns_masks: bool) -> list[str]:
    """What is wrong with images, and with targets beside their images."""
    problems = []
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        if not isinstance(image, Tensor) or image.shape[:-2] != (channels,) or not image.is_floating_point():
            problems.append(
                f"inputs[{i}] must be floating-point ({channels}, H, W), not {described(image)}: convert it to "
                f"a tensor of {channels} channels in [0, 1], one of 8 bits by image / 255."
            )
            continue
        size, masks = image.shape[-2:], target.get("masks")
        if masks is not None and masks.shape[-2:] != size:
            problems.append(
                f"targets[{i}]['masks'] are {_by(masks)} and inputs[{i}] is {_by(image)}: paint masks at the size of "
                "their image."
            )
        if masks is None and learns_masks:
            problems.append(f"targets[{i}] has no masks, which the network learns: give them, or take retinanet.")
        problems += _outside(target["boxes"], size, i)
    return problems


def _out_of_range(images: Sequence[Tensor], targets: Sequence[Any], mean: Sequence[float]) -> list[str]:
    """Images and masks of 0 to 255 where [0, 1] is read; looked for on a CPU only."""
    problems = []
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        # Detectors made for images of 0 to 255 subtract a mean that is larger, too.
        if max(mean) <= 1 and _largest(image) > _BRIGHTEST:
            problems.append(
                f"inputs[{i}] has values up to {_largest(image):.4g}; the network normalises images in [0, 1]: give "
                "image / 255."
            )
        masks = target.get("masks")
        if masks is not None and _largest(masks) > 1:
            problems.append(
                f"targets[{i}]['masks'] has values up to {_largest(masks):.4g}; inside is 1 and outside 0: give "
                "(masks > 127).to(torch.uint8) if they are 0 to 255."
            )
    return problems


def _largest(values: Tensor) -> float:
    if values.device.type != "cpu" or isinstance(values, FakeTensor) or not values.numel():
        return 0.0
    return values.amax().item()


def _outside(boxes: Tensor, size: Sequence[int], image: int) -> list[str]:
    """Boxes that leave their image by more than a pixel, which rounding does not explain; looked for on a CPU only."""
    if boxes.device.type != "cpu" or isinstance(boxes, FakeTensor):
        return []
    height, width = size
    beyond = torch.maximum(-boxes, boxes - boxes.new_tensor([width, height, width, height])).amax(1) > _ROUNDING
    return [
        f"targets[{image}]['boxes'][{row}] is {boxes[row].tolist()}, outside of inputs[{image}], which is "
        f"{height}x{width} (H, W): give x1, y1, x2, y2 in its pixels, cut at its border."
        for row in beyond.nonzero()[:5, 0].tolist()
    ]


def _by(maps: Tensor) -> str:
    return "x".join(map(str, maps.shape[-2:]))


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError(listed(problems))


def _no_detector(network: nn.Module) -> str:
    return (
        f"{type(network).__name__} is no detector that Detection knows: use Mask R-CNN, Faster R-CNN or RetinaNet of "
        "torchvision with a feature pyramid, such as the network mask_rcnn."
    )
