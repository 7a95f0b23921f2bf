"""How a tensor's numbers lie in memory, where that must be the same in several processes."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_strides(values: Tensor) -> tuple[int, ...]:
    """Strides of a tensor of the same shape and order of dimensions, without gaps or repeats.

    Args:
        values: Any tensor.

    Returns:
        Its own strides if it has neither.
    """
    return torch.empty_like(values, device="meta").stride()


def in_memory_order(values: Tensor) -> Tensor:
    """All numbers of a tensor without gaps or repeats, as they lie in memory.

    Args:
        values: `values.stride() == dense_strides(values)`.

    Returns:
        `(numel,)`, of the same memory.
    """
    return values.as_strided((values.numel(),), (1,), values.storage_offset())
