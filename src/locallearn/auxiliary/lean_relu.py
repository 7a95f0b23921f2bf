"""ReLU whose backward pass writes into the gradient it is given."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def lean_relu(values: Tensor) -> Tensor:
    """ReLU that overwrites its input, and in the backward pass the gradient of its output.

    One map less is alive at the peak. Only for where the next layer alone reads the result and makes a gradient of its
    own for it, as a convolution does.

    Args:
        values: Any shape; nobody else may need them, as after BatchNorm.

    Returns:
        The same memory, with negative values at zero.
    """
    return _LeanReLU.apply(values)


class _LeanReLU(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.mark_dirty(values)
        result = F.relu_(values)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (result,) = ctx.saved_tensors
        return gradients[0].masked_fill_(result <= 0, 0)
