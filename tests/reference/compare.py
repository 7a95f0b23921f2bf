"""How a fast form is compared with a slow one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def assert_same_values_and_gradients(fast: Tensor, slow: Tensor, inputs: Sequence[Tensor], weight: Tensor) -> None:
    """Equal outputs, and equal gradients of their weighted sum at every input."""
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(
        torch.autograd.grad((fast * weight).sum(), inputs),
        torch.autograd.grad((slow * weight).sum(), inputs),
        rtol=1e-6,
        atol=1e-9,
    )
