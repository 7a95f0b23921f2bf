"""How gradients cross the borders that autograd does not see."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from locallearn.lean.overwriting import may_overwrite


class _Seed(torch.autograd.Function):
    """Starts a backward pass at a tensor with a gradient that nobody else holds, so that it is freed once used."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, stash: list[Tensor]) -> Tensor:
        ctx.stash = stash
        return output.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return ctx.stash.pop(), None


class _Catch(torch.autograd.Function):
    """Passes a tensor on and keeps its gradient, in its layout; `.grad` would write out repeated numbers."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, caught: list[Tensor]) -> Tensor:
        ctx.caught, ctx.stride = caught, values.stride()
        return values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ours = may_overwrite(gradients)
        gradient = gradients[0]
        if not _repeats(gradient) and not (ours and gradient.stride() == ctx.stride):
            gradient = gradient.new_empty_strided(gradient.shape, ctx.stride).copy_(gradient)
        add_to(ctx.caught, gradient)
        return None, None


def caught(values: Tensor, stash: list[Tensor]) -> Tensor:
    """A tensor to compute with, whose gradient lands in a list.

    Args:
        values: Any tensor; its graph, if any, is left out.
        stash: Gets the gradient as its only entry, the sum over all backward passes.

    Returns:
        The same values.
    """
    return cast(Tensor, _Catch.apply(values.detach().requires_grad_(), stash))


def add_to(stash: list[Tensor], gradient: Tensor) -> None:
    """Add a gradient to the one that a list holds, in place where there is memory for every number.

    Args:
        stash: Empty, or holds one gradient, which nobody else may need any more unless it repeats numbers.
        gradient: The other, likewise; kept itself if the list is empty.
    """
    if not stash:
        stash.append(gradient)
    elif not _repeats(stash[0]):
        stash[0].add_(gradient)
    elif not _repeats(gradient):
        stash[0] = gradient.add_(stash[0])
    else:
        stash[0] = stash[0] + gradient


def _repeats(values: Tensor) -> bool:
    """Whether one number in memory stands for several, as in the gradient of a mean."""
    return any(stride == 0 and size > 1 for stride, size in zip(values.stride(), values.shape, strict=True))


def push_back(
    output: Tensor, stash: list[Tensor], *, inputs: Sequence[Tensor] | None = None, retain_graph: bool = False
) -> None:
    """Back-propagate a gradient from a tensor and let go of it on the way.

    Args:
        output: A tensor with a graph; nothing happens if all behind it is frozen.
        stash: Holds the gradient of `output` as its last entry, which is removed.
        inputs: Fill `.grad` of these only; everything the graph reaches if None.
        retain_graph: Keep the graph for another pass.
    """
    if not output.requires_grad:
        stash.clear()
        return
    if _repeats(stash[-1]):
        stash.append(torch.empty_like(output).copy_(stash.pop()))
    with outside_autocast(output):
        torch.autograd.backward(seed(output, stash), inputs=inputs, retain_graph=retain_graph)


def seed(output: Tensor, stash: list[Tensor]) -> Tensor:
    """A scalar that stands for a tensor in its graph, so that the tensor's own memory can be given back.

    Args:
        output: A tensor with a graph.
        stash: Must hold the gradient of `output` as its last entry by the time of the backward pass, which removes it.

    Returns:
        A scalar whose backward pass goes on at `output` with that gradient.
    """
    return _Seed.apply(output, stash)


def outside_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """A context for a backward pass within the caller's autocast, whose operations must run as they were recorded.

    Args:
        tensor: Tells the device.

    Returns:
        A context manager.
    """
    kind = tensor.device.type
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known and torch.is_autocast_enabled(kind) else nullcontext()
