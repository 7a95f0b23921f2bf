"""Similarity matching: samples of one class should look alike, samples of different classes should not."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from locallearn.errors import InputError
from locallearn.losses._precision import unit_rows, without_autocast, working_dtype

_DAMPING = 1e-8
_ROUNDING_STEPS = 16


class _SpatialStd(torch.autograd.Function):
    """Standard deviation over H and W, unbiased, twenty times as fast on a CPU as ``Tensor.std``.

    Keeps the input alone for the backward pass; a map that is constant gets the gradient zero.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, maps: Tensor) -> Tensor:
        mean = maps.mean((2, 3), keepdim=True, dtype=working_dtype(maps))
        positions = maps.shape[2] * maps.shape[3]
        variance = (maps - mean).square_().sum((2, 3), keepdim=True).div_(positions - 1)
        std = variance.sqrt_()
        ctx.save_for_backward(maps, mean, std)
        return std.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        maps, mean, std = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        positions = maps.shape[2] * maps.shape[3]
        scale = torch.where(std > 0, gradients[0][:, :, None, None] / ((positions - 1) * std), 0.0)
        return (maps - mean).mul_(scale).to(maps.dtype)


def similarity_matrix(features: Tensor) -> Tensor:
    r"""Cosine similarity of the centred features of every two samples.

    .. math::
        R_{ij} = \operatorname{clamp}\left(\hat x_i \cdot \hat x_j, -1, 1\right), \qquad
        \hat x_i = \frac{x_i - \bar x_i}{\lVert x_i - \bar x_i \rVert + 10^{-8}}

    where :math:`x_i` holds the standard deviation of each channel of sample i over its positions (divisor HW - 1) if
    the features are maps of more than three channels and more than one row, else all its values, and :math:`\bar x_i`
    is the mean of :math:`x_i` itself. The gradient is zero where the clamp acts.

    Args:
        features: (B, C, H, W) maps, or (B, ...) anything else, which is flattened.

    Returns:
        (B, B), at least float32 also for half precision and under autocast.

    Source:
        Nøkland and Eidnes, "Training Neural Networks with Local Error Signals", ICML 2019, and its released code.

    Departures:
        A sample whose centred row is zero up to rounding (all values, or the deviations of all channels, equal) is
        dissimilar from nothing: its row of R is zero and it gets the gradient zero, where the released code gives NaN
        or magnified rounding noise.
    """
    with without_autocast(features):
        if features.ndim == 4 and features.shape[1] > 3 and features.shape[2] > 1:
            rows = _SpatialStd.apply(features)
        else:
            rows = features.flatten(1).to(working_dtype(features))
        assert isinstance(rows, Tensor)
        rounding = _ROUNDING_STEPS * torch.finfo(rows.dtype).eps
        floor = rounding * torch.linalg.vector_norm(rows.detach(), dim=1, keepdim=True)
        units = unit_rows(rows - rows.mean(1, keepdim=True), floor, _DAMPING)
        return (units @ units.T).clamp(-1.0, 1.0)


def similarity_matching(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    r"""Mean squared difference between the similarities of the features and those of the labels.

    .. math::
        L = \frac{1}{B^2} \sum_{i,j} \left(R_{ij} - T_{ij}\right)^2, \qquad
        T_{ij} = \begin{cases} 1 & y_i = y_j \\ -\frac{1}{n - 1} & y_i \ne y_j \end{cases}

    with R the :func:`similarity_matrix` of the features and T that of the one-hot labels of n classes in closed form.

    Args:
        features: (B, C, H, W) maps, or (B, ...) anything else.
        labels: (B,) class indices.
        num_classes: n, at least 2; the target depends on it.

    Returns:
        Scalar, at least float32.

    Raises:
        InputError: If ``num_classes`` is below 2.

    Source:
        Nøkland and Eidnes, "Training Neural Networks with Local Error Signals", ICML 2019, and its released code: the
        mean over B x B is the code's.

    Departures:
        As :func:`similarity_matrix`; the target is written in closed form, free of rounding.
    """
    if num_classes < 2:
        raise InputError(
            f"similarity matching needs at least 2 classes, got {num_classes}: use the cross-entropy alone"
        )
    similarities = similarity_matrix(features)
    same_class = labels[:, None] == labels[None, :]
    target = torch.full_like(similarities, -1.0 / (num_classes - 1)).masked_fill_(same_class, 1.0)
    # PyTorch's scalar stands at the head of B x B numbers, which would live as long as the reported loss.
    return F.mse_loss(similarities, target).clone()
