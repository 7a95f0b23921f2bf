"""Convolution that does not keep its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from locallearn.lean.normalized import Normalized, restored


@dataclass(frozen=True)
class Geometry:
    """How a convolution runs over its input, one number for each of its axes.

    Args:
        stride: Steps.
        padding: Zeros on either side.
        dilation: Distance of the kernel's taps.
        groups: Channels are cut into so many.
    """

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


def lean_convolution(
    function: Callable[..., Tensor],
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    source: Normalized | None,
) -> Tensor:
    """Convolve, without keeping the input for the backward pass.

    The backward pass takes the weight's gradient first, and lets go of the input before it takes the input's.

    Args:
        function: `torch.conv1d`, `torch.conv2d` or `torch.conv3d`.
        values: The input, in the precision to compute in.
        weight: Cast to that precision.
        bias: Likewise, or None.
        geometry: How the kernel runs over the input.
        source: How to compute `values` again; may be None only if the weight needs no gradient.

    Returns:
        The convolution's output.
    """
    return _LeanConvolution.apply(values, weight, bias, function, geometry, source)


class _LeanConvolution(Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        function: Callable[..., Tensor],
        geometry: Geometry,
        source: Normalized | None,
    ) -> Tensor:
        ctx.geometry, ctx.shape = geometry, values.shape
        ctx.relu = source.relu if source is not None else False
        ctx.save_for_backward(weight, *(source[:-1] if source is not None else ()))
        ctx.bias_type = None if bias is None else bias.dtype
        with torch.autocast(values.device.type, enabled=False):
            return function(
                values,
                weight.to(values.dtype),
                None if bias is None else bias.to(values.dtype),
                geometry.stride,
                geometry.padding,
                geometry.dilation,
                geometry.groups,
            )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradients[0]
        for_input, for_weight, for_bias = _wanted(ctx)
        weight, *saved = ctx.saved_tensors
        kernel = weight.to(gradient.dtype)
        source = restored(saved, relu=ctx.relu) if saved else None
        found: list[Tensor | None] = [None, None, None]
        if for_bias:
            found[2] = gradient.sum((0, *range(2, gradient.ndim)), dtype=ctx.bias_type)
        if for_weight:
            assert source is not None
            found[1] = _backward(gradient, source.again(), kernel, ctx.geometry, of_weight=True).to(weight.dtype)
        if for_input and source is not None:  # Only the shape and layout of what stands for the input are read.
            found[0] = _backward(gradient, source.values, kernel, ctx.geometry, of_weight=False)
        elif for_input:
            found[0] = _transposed(gradient, kernel, ctx.geometry, ctx.shape)
        return (*found, None, None, None)


def _wanted(ctx: Any) -> list[bool]:
    """Which of the first three inputs the running backward pass wants a gradient of."""
    needed = list(ctx.needs_input_grad[:3])
    nodes = iter([node for node, _ in ctx.next_functions if node is not None])
    try:
        return [need and torch._C._will_engine_execute_node(next(nodes)) for need in needed]
    except RuntimeError:  # Within `torch.autograd.grad` the engine does not say.
        return needed


def _backward(gradient: Tensor, values: Tensor, kernel: Tensor, how: Geometry, *, of_weight: bool) -> Tensor:
    found = torch.ops.aten.convolution_backward(
        gradient,
        values,
        kernel,
        None,
        how.stride,
        how.padding,
        how.dilation,
        False,
        [0] * len(how.stride),
        how.groups,
        [not of_weight, of_weight, False],
    )
    return found[1 if of_weight else 0]


def _transposed(gradient: Tensor, kernel: Tensor, how: Geometry, shape: Sequence[int]) -> Tensor:
    """The gradient of the input from its shape alone."""
    axes = zip(shape[2:], gradient.shape[2:], kernel.shape[2:], how.stride, how.padding, how.dilation, strict=True)
    rest = [
        size - ((out - 1) * stride - 2 * padding + dilation * (taps - 1) + 1)
        for size, out, taps, stride, padding, dilation in axes
    ]
    return torch.ops.aten.convolution(
        gradient, kernel, None, how.stride, how.padding, how.dilation, True, rest, how.groups
    )
