"""How well predicted regions cover labelled ones, averaged over classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from typing_extensions import override

from locallearn.errors import InputError
from locallearn.metrics.metric import Metric, added


class MeanIoU(Metric):
    """Mean intersection over union, and the share of right pixels, over all pixels of a data set.

    With n_ab the number of counted pixels of class a that are predicted as b,
    IoU_c = n_cc / (sum_b n_cb + sum_a n_ac - n_cc). The mean is over the classes for which the denominator is not 0:
    those that occur in labels or predictions. Logits of another size than the labels are resized to them, bilinear,
    corners not aligned.

    Args:
        num_classes: How many classes there are.
        ignore_index: The label of pixels that do not count.

    Source: mmsegmentation 0.10.0, `mmseg/core/evaluation/metrics.py`, `mean_iou`, with `nanmean` over classes.
    """

    name: ClassVar[str] = "mean_iou"

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self._classes = num_classes
        self._ignored = ignore_index
        self._counts: Tensor | None = None

    @override
    def update(self, output: Tensor | Mapping[str, Tensor], targets: Tensor) -> None:
        check_label_maps(targets, self._classes, self._ignored)
        logits = logits_of(output)
        if logits.shape[2:] != targets.shape[1:]:
            logits = F.interpolate(logits, size=targets.shape[1:], mode="bilinear", align_corners=False)
        pairs = targets * self._classes + logits.argmax(1)
        cells = torch.where(targets == self._ignored, self._classes**2, pairs).flatten()
        if self._counts is None:
            self._counts = torch.zeros(self._classes**2 + 1, dtype=torch.int64, device=cells.device)
        # Unlike bincount, adding does not wait for the device.
        self._counts.index_add_(0, cells, torch.ones_like(cells))

    @override
    def absorb(self, other: MeanIoU) -> None:
        self._counts = added(self._counts, other._counts)

    @property
    def confusion(self) -> Tensor:
        """Pixels by class and prediction, `(num_classes, num_classes)`, int64, on the CPU."""
        if self._counts is None:
            return torch.zeros(self._classes, self._classes, dtype=torch.int64)
        return self._counts[:-1].view(self._classes, self._classes).cpu()

    def class_iou(self) -> tuple[float, ...]:
        """Intersection over union of every class.

        Returns:
            Percent, in the order of the classes; NaN for a class that occurs neither in labels nor in predictions.
        """
        counts = self.confusion.double()
        return tuple((100 * counts.diag() / (counts.sum(0) + counts.sum(1) - counts.diag())).tolist())

    @override
    def by_class(self) -> dict[str, tuple[float, ...]]:
        return {"iou": self.class_iou()}

    @override
    def results(self) -> dict[str, float]:
        counts = self.confusion
        found = [value for value in self.class_iou() if not math.isnan(value)]
        right, pixels = int(counts.diag().sum()), int(counts.sum())
        return {"mean_iou": sum(found) / max(len(found), 1), "pixel_accuracy": 100 * right / max(pixels, 1)}


def logits_of(output: Tensor | Mapping[str, Tensor]) -> Tensor:
    """The logits in what a segmenter returns.

    Args:
        output: Logits, or torchvision's dictionary with them as `"out"`.

    Returns:
        (N, C, h, w).
    """
    return output["out"] if isinstance(output, Mapping) else output


def check_label_maps(labels: Tensor, num_classes: int, ignore_index: int) -> None:
    """Refuse label maps that hold what is no class; they are looked at on a CPU only, where it costs no waiting.

    Args:
        labels: (N, H, W), int64.
        num_classes: How many classes there are.
        ignore_index: The label of pixels that do not count.

    Raises:
        InputError: Labels outside of the classes; the first ten are named.
    """
    if labels.device.type != "cpu" or isinstance(labels, FakeTensor):
        return
    known = ((labels >= 0) & (labels < num_classes)) | (labels == ignore_index)
    if not known.all():
        strangers = ", ".join(map(str, labels[~known].unique()[:10].tolist()))
        raise InputError(
            f"Label maps hold {strangers}; the classes are 0 to {num_classes - 1}, and {ignore_index} stands for "
            "pixels that do not count."
        )
