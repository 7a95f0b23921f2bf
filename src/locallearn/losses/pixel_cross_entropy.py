"""Cross-entropy of dense predictions, a few samples at a time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from locallearn.losses._precision import without_autocast, working_dtype

_MOST_VALUES = 2**24
"""Logits at the size of the labels that are alive together: 64 MiB in single precision."""


def pixel_cross_entropy(
    logits: Tensor, labels: Tensor, *, ignore_index: int = 255, align_corners: bool = True
) -> Tensor:
    """Cross-entropy of logits that are resized to the labels, averaged over the pixels that count.

    L = sum over pixels with y != ignore of -log softmax(resize(z))_y / max(1, number of such pixels),

    the resizing bilinear. Where logits are smaller than the labels, as those of local heads, they exist at the size of
    the labels for a few samples at a time: they are computed in the forward pass and once more in the backward pass,
    and nothing but `logits` is kept between the two. A network that resizes its own output, as torchvision's DeepLabV3
    does with `"out"` and `"aux"`, holds the whole batch at that size all the same.

    Args:
        logits: (N, C, h, w).
        labels: (N, H, W), int64.
        ignore_index: The label of pixels that do not count.
        align_corners: Whether resizing aligns the corners.

    Returns:
        A scalar in single precision or better; 0, with a gradient of zeros, where no pixel counts.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, segmentation: logits of local heads
        are resized with `align_corners=True`, label 255 is left out.
    Departures: averaged over the pixels that count, as PyTorch does, not over all pixels.
    """
    return _PixelCrossEntropy.apply(logits, labels, ignore_index, align_corners)


class _PixelCrossEntropy(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, logits: Tensor, labels: Tensor, ignore_index: int, align_corners: bool) -> Tensor:
        ctx.save_for_backward(logits, labels)
        ctx.ignore_index, ctx.align_corners = ignore_index, align_corners
        total = logits.new_zeros((), dtype=working_dtype(logits))
        for values, targets in _pieces(logits, labels):
            total += _summed(values, targets, ignore_index, align_corners)
        return total / _count(labels, ignore_index)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Tensor
    ) -> tuple[Tensor, None, None, None]:
        logits, labels = ctx.saved_tensors
        scale = upstream[0] / _count(labels, ctx.ignore_index)
        gradient = torch.empty_like(logits)
        for (values, targets), (part, _) in zip(_pieces(logits, labels), _pieces(gradient, labels), strict=True):
            leaf = values.detach().requires_grad_()
            with torch.enable_grad():
                loss = _summed(leaf, targets, ctx.ignore_index, ctx.align_corners)
            (found,) = torch.autograd.grad(loss, leaf, scale)
            part.copy_(found)
        return gradient, None, None, None


def _pieces(logits: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    at_once = max(1, _MOST_VALUES // (logits.shape[1] * labels[0].numel()))
    return list(zip(logits.split(at_once), labels.split(at_once), strict=True))


def _summed(logits: Tensor, labels: Tensor, ignore_index: int, align_corners: bool) -> Tensor:
    with without_autocast(logits):
        exact = logits.to(working_dtype(logits))
        if exact.shape[2:] != labels.shape[1:]:
            exact = F.interpolate(exact, size=labels.shape[1:], mode="bilinear", align_corners=align_corners)
        return F.cross_entropy(exact, labels, ignore_index=ignore_index, reduction="sum")


def _count(labels: Tensor, ignore_index: int) -> Tensor:
    return (labels != ignore_index).sum().clamp_(min=1)
