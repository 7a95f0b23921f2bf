"""What keeps a loss accurate under autocast, on half-precision features and on samples that are all zero."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def working_dtype(tensor: Tensor) -> torch.dtype:
    """The precision a loss computes in: float32 for anything narrower, else the tensor's own.

    Args:
        tensor: Any floating-point tensor.

    Returns:
        ``torch.float64`` for float64 input, ``torch.float32`` otherwise.
    """
    return torch.promote_types(tensor.dtype, torch.float32)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which no operator on the tensor's device casts down.

    Args:
        tensor: A tensor on the device concerned.

    Returns:
        A context manager; one that does nothing on devices that have no autocast.
    """
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def unit_rows(rows: Tensor, floor: Tensor | float = 0.0, damping: float = 0.0) -> Tensor:
    """Rows divided by their Euclidean norm, r / (|r| + damping); rows no longer than ``floor`` become zero.

    Such dead rows pass no gradient: the quotient has no derivative at the zero row, and near it rounding noise would
    be magnified by 1 / (|r| + damping).

    Args:
        rows: (B, D).
        floor: Norm up to which a row counts as zero, a number or (B, 1).
        damping: Added to the norm.

    Returns:
        (B, D).
    """
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    alive = norms > floor
    return torch.where(alive, rows, 0.0) / torch.where(alive, norms + damping, 1.0)
