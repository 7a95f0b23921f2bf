"""Whether a backward pass may write into the gradient that it is given."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _disable_current_modes

_PARTS = 8
_WORTH_CUTTING = 2**20


def may_overwrite(gradients: tuple[Tensor, ...]) -> bool:
    """Whether nothing else than the running backward pass holds its gradient, so that it may be overwritten.

    A gradient is shared where a sum hands it to two branches, where a window or a hook keeps it, and where it is a
    view. References are counted, so call it first thing in `backward(ctx, *gradients)` under `once_differentiable`.

    Args:
        gradients: What `backward` was given, the tuple itself; asked about is the first.

    Returns:
        False if in doubt.
    """
    found = _holders(gradients)
    if any(count > most for count, most in zip(found, _alone(), strict=True)):
        return False
    return gradients[0].is_contiguous() or gradients[0].is_contiguous(memory_format=_channels_last(gradients[0]))


def in_parts(*maps: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut tensors along the batch, about eight times; small ones stay whole.

    Args:
        *maps: Tensors of the same shape.

    Returns:
        For each part its views of all tensors.
    """
    parts = _PARTS if worth_cutting(maps[0]) else 1
    return list(zip(*(each.chunk(parts) for each in maps), strict=True))


def worth_cutting(values: Tensor) -> bool:
    """Whether a tensor is so large that the memory saved is worth more operations.

    Args:
        values: Any shape.

    Returns:
        True from 1 MiB on.
    """
    return values.numel() * values.element_size() >= _WORTH_CUTTING


def _channels_last(gradient: Tensor) -> torch.memory_format:
    if gradient.ndim == 4:
        return torch.channels_last
    return torch.channels_last_3d if gradient.ndim == 5 else torch.contiguous_format


def _holders(gradients: tuple[Tensor, ...]) -> tuple[int, int, int]:
    """References from Python, from C++, and to the memory."""
    gradient = gradients[0]
    storage = torch._C._storage_Use_Count(gradient.untyped_storage()._cdata)
    return sys.getrefcount(gradient), gradient._use_count(), storage


class _Probe(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, found: list[tuple[int, int, int]]) -> Tensor:
        ctx.found = found
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.found.append(_holders(gradients))
        return gradients[0], None


@functools.cache
def _alone() -> tuple[int, int, int]:
    """What is counted of a gradient that nobody else holds; less than possible if that cannot be told from others."""
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.enable_grad():
        values = torch.ones(2, requires_grad=True)
        (alone,) = _counted(lambda probed: probed(values) * 2)
        kept: list[Tensor] = []
        shared = [
            _counted(lambda probed: _kept(probed(values), kept, alias=False) * 2)[0],
            _counted(lambda probed: _kept(probed(values), kept, alias=True) * 2)[0],
            _counted(lambda probed: (probed(values) + values) * 2)[0],
            _counted(lambda probed: probed(values))[0],
        ]
    told = all(any(count > least for count, least in zip(counts, alone, strict=True)) for counts in shared)
    return alone if told else (0, 0, 0)


def _counted(function: Any) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    torch.autograd.backward(function(lambda values: _Probe.apply(values, found)).sum())
    return found


def _kept(values: Tensor, kept: list[Tensor], *, alias: bool) -> Tensor:
    values.register_hook(lambda gradient: kept.append(gradient.detach() if alias else gradient))
    return values
