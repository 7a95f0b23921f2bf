"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from locallearn.auxiliary.dense_head import DenseHead
from locallearn.errors import InputError, listed
from locallearn.losses.pixel_cross_entropy import pixel_cross_entropy
from locallearn.metrics.mean_iou import MeanIoU, check_label_maps, logits_of
from locallearn.tasks.task import Task, described, too_few


@dataclass(frozen=True)
class Segmentation(Task):
    """Cross-entropy over classes at every pixel that is labelled.

    Targets are `(N, H, W)`, int64: class indices, and `ignore_index` where a pixel does not count. Logits,
    `(N, C, h, w)`, may be smaller than the labels and are resized to them, bilinear: those of local heads with corners
    aligned, those that the network returns without, as `MeanIoU` reads them too. The network returns such logits, or
    torchvision's dictionary of them: `"out"` and perhaps `"aux"`. To train, label maps have the size of the images.

    Args:
        num_classes: How many classes there are, C.
        ignore_index: The label of pixels that do not count.
        auxiliary_weight: Weight of the cross-entropy of `"aux"`.

    Raises:
        InputError: Fewer than two classes, an ignored label that is a class, or a negative weight.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, segmentation: weight 0.4, label 255; corners
        are aligned in the losses of local heads, not in those of mmsegmentation's DeepLabV3.
    """

    num_classes: int
    ignore_index: int = 255
    auxiliary_weight: float = 0.4

    def __post_init__(self) -> None:
        problems = too_few("Segmentation", self.num_classes, 2)
        if not problems and 0 <= self.ignore_index < self.num_classes:
            problems.append(
                f"ignore_index = {self.ignore_index} is one of the {self.num_classes} classes: choose a label outside."
            )
        if not self.auxiliary_weight >= 0:
            problems.append(f"auxiliary_weight must be at least 0, not {self.auxiliary_weight}.")
        if problems:
            raise InputError(listed(problems))

    @property
    @override
    def num_outputs(self) -> int:
        return self.num_classes

    @property
    @override
    def has_labels(self) -> bool:
        return False

    @override
    def fits(self, output_shape: tuple[int, ...]) -> bool:
        return len(output_shape) == 3 and output_shape[0] == self.num_classes

    @override
    def enter(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        super().enter(network, inputs, targets)
        if inputs.ndim != 4 or not inputs.is_floating_point():
            raise InputError(
                f"Inputs must be floating-point images (N, C, H, W), not {described(inputs)}: those of 8 bits are "
                "divided by 255 and normalised first."
            )
        images, labels = tuple(inputs.shape[2:]), tuple(targets.shape[1:])
        if images != labels:
            raise InputError(
                f"Label maps are {labels} (H, W) and images {images}: to train, bring both to one size, images "
                "bilinear and labels by the nearest pixel."
            )
        return inputs, targets

    @override
    def check_targets(self, targets: Tensor, batch_size: int) -> None:
        if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.ndim != 3:
            raise InputError(
                f"Targets must be maps of class indices, torch.int64 of shape (N, H, W), not {described(targets)}: "
                "torch.as_tensor(..., dtype=torch.int64) makes them of whole numbers; scaled to [0, 1] they are lost."
            )
        if len(targets) != batch_size or targets.numel() == 0:
            raise InputError(f"Targets are {tuple(targets.shape)} for {batch_size} images: give one map for each.")
        check_label_maps(targets, self.num_classes, self.ignore_index)

    @override
    def head(self, shape: tuple[int, ...]) -> nn.Module:
        return DenseHead(shape, self.num_classes)

    @override
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self._cross_entropy(logits, targets, align_corners=True)

    def _cross_entropy(self, logits: Tensor, targets: Tensor, *, align_corners: bool) -> Tensor:
        if logits.ndim != 4:
            raise InputError(
                f"Segmentation scores maps of logits, (N, {self.num_classes}, h, w), not {tuple(logits.shape)}."
            )
        return pixel_cross_entropy(logits, targets, ignore_index=self.ignore_index, align_corners=align_corners)

    @override
    def output_loss(self, network: nn.Module, output: Any, targets: Tensor) -> Tensor:
        if isinstance(output, Tensor):
            return self._cross_entropy(output, targets, align_corners=False)
        if not isinstance(output, Mapping) or "out" not in output:
            raise InputError(
                f"{type(network).__name__} returns {type(output).__name__}; segmentation reads a tensor of logits, or "
                'a dictionary with "out" and perhaps "aux": wrap the network in a module that returns one of them.'
            )
        loss = self._cross_entropy(output["out"], targets, align_corners=False)
        if "aux" in output:
            loss = loss + self.auxiliary_weight * self._cross_entropy(output["aux"], targets, align_corners=False)
        return loss

    @override
    def prediction(self, output: Any) -> Tensor | None:
        return super().prediction(logits_of(output))

    @override
    def hits(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        labels = _nearest(targets, logits.shape[2], logits.shape[3])
        # The ignored label is no class, so it equals no prediction.
        return (logits.argmax(1) == labels).sum(), (labels != self.ignore_index).sum()

    @override
    def blank_targets(self, inputs: Tensor) -> Tensor:
        return torch.zeros(len(inputs), *inputs.shape[2:], dtype=torch.long, device=inputs.device)

    @override
    def metric(self) -> MeanIoU:
        return MeanIoU(self.num_classes, self.ignore_index)

    @override
    def labels(self, targets: Tensor) -> Tensor:
        raise InputError("Segmentation has a class for every pixel, none for a whole sample; use another method.")


def _nearest(labels: Tensor, height: int, width: int) -> Tensor:
    """Label maps at another resolution: pixel (i, j) is that at (floor(i H / h), floor(j W / w))."""
    if labels.shape[1:] == (height, width):
        return labels
    rows = torch.arange(height, device=labels.device) * labels.shape[1] // height
    columns = torch.arange(width, device=labels.device) * labels.shape[2] // width
    return labels[:, rows[:, None], columns]
