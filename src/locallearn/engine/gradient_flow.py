"""How gradients cross the borders that autograd does not see."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


class _Seed(torch.autograd.Function):
    """Starts a backward pass at a tensor with a gradient that nobody else holds, so that it is freed once used."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, stash: list[Tensor]) -> Tensor:
        ctx.stash = stash
        return output.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return ctx.stash.pop(), None


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
