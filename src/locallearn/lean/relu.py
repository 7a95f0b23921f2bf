"""ReLU whose backward pass writes into the gradient it is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import handle_torch_function, has_torch_function_unary

from locallearn.lean.normalized import Normalized, restored
from locallearn.lean.overwriting import in_parts, may_overwrite


def lean_relu(values: Tensor, *, in_place: bool = True, source: Normalized | None = None) -> Tensor:
    """ReLU that overwrites its input, and in the backward pass the gradient of its output if nobody else holds it.

    One map less is alive at the peak, each.

    Args:
        values: Any shape; nobody else may need them if they are overwritten, as after BatchNorm.
        in_place: Whether to overwrite them.
        source: How to compute `values` again. If given, the result is not kept for the backward pass.

    Returns:
        The values with negative ones at zero.
    """
    if has_torch_function_unary(values):
        return handle_torch_function(lean_relu, (values,), values, in_place=in_place, source=source)
    return _LeanReLU.apply(values, in_place, source)


class _LeanReLU(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, in_place: bool, source: Normalized | None) -> Tensor:
        ctx.relu = source.relu if source is not None else None
        if in_place:
            ctx.mark_dirty(values)
        result = torch.relu_(values) if in_place else torch.relu(values)
        ctx.save_for_backward(*([result] if source is None else source[:-1]))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        overwrites = may_overwrite(gradients)
        gradient = gradients[0]
        masked = gradient if overwrites else torch.empty_like(gradient)
        if ctx.relu is None:
            (result,) = ctx.saved_tensors
            _mask(gradient, result, masked)
            return masked, None, None
        source = restored(ctx.saved_tensors, relu=ctx.relu)
        parts = in_parts(gradient, masked, source.values)
        buffer = torch.empty_like(parts[0][2])
        for before, after, values in parts:
            result = buffer[: len(values)]
            source.write(result, values)
            _mask(before, result, after)
        return masked, None, None


def _mask(gradient: Tensor, result: Tensor, masked: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(gradient, result, 0, grad_input=masked)
