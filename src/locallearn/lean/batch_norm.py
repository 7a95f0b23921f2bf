"""BatchNorm whose backward pass writes the gradient of its input over that of its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from locallearn.lean.normalized import Normalized, per_channel
from locallearn.lean.overwriting import in_parts, may_overwrite, worth_cutting


def lean_batch_norm(
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Normalized]:
    """Normalise with the statistics of the batch, and update the running ones.

    Args:
        values: `(N, C, ...)`.
        running_mean: Moved towards the batch's, if given.
        running_var: Likewise.
        weight: `(C,)` in single or double precision, or None.
        bias: Likewise.
        momentum: How far the running statistics move.
        eps: Added to the variance.

    Returns:
        The result, bit for bit that of `F.batch_norm`, and how to compute it again.
    """
    result, mean, inverse_std = _LeanBatchNorm.apply(values, weight, bias, running_mean, running_var, momentum, eps)
    return result, Normalized(values, mean, inverse_std, weight, bias)


class _LeanBatchNorm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        cudnn = torch.backends.cudnn.enabled
        result, mean, inverse_std, _, _ = torch._batch_norm_impl_index(  # pyright: ignore[reportPrivateImportUsage]
            values, weight, bias, running_mean, running_var, True, momentum, eps, cudnn
        )
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, inverse_std)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(values, weight, mean, inverse_std)
        return result, mean, inverse_std

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        needed = list(ctx.needs_input_grad[:3])
        overwrites = may_overwrite(gradients) and needed[0] and worth_cutting(gradients[0])
        gradient = gradients[0]
        values, weight, mean, inverse_std = ctx.saved_tensors
        norm = Normalized(values, mean, inverse_std, weight, None)
        found = _overwrite(gradient, norm, ctx.eps) if overwrites else _plain(gradient, norm, ctx.eps, needed)
        wanted = (each if need else None for each, need in zip(found, needed, strict=True))
        return (*wanted, None, None, None, None)


def _plain(gradient: Tensor, norm: Normalized, eps: float, mask: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    weight = torch.ones_like(norm.mean) if norm.weight is None else norm.weight
    return torch.ops.aten.native_batch_norm_backward(
        gradient, norm.values, weight, None, None, norm.mean, norm.inverse_std, True, eps, mask
    )


def _overwrite(gradient: Tensor, norm: Normalized, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the gradient of the result into that of the input, some rows at a time; and those of weight and bias."""
    parts = in_parts(gradient, norm.values)
    sums = (_plain(part, norm._replace(values=values), eps, [False, True, True])[1:] for part, values in parts)
    of_weight, of_bias = (torch.stack(found).sum(0) for found in zip(*sums, strict=True))
    count = gradient.numel() // norm.mean.numel()
    mean, scale, slope, offset = (
        per_channel(numbers, gradient)
        for numbers in (
            norm.mean,
            norm.scale,
            norm.scale * norm.inverse_std * of_weight / -count,
            norm.scale * of_bias / -count,
        )
    )
    buffer = torch.empty_like(parts[0][1], dtype=mean.dtype)
    for part, values in parts:
        rest = torch.sub(values, mean, out=buffer[: len(part)])
        torch.addcmul(offset, rest, slope, out=rest)
        torch.addcmul(rest, part, scale, out=part)
    return gradient, of_weight, of_bias
