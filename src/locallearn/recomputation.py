"""Run something, keep only its input, and run it again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")


def recomputed(function: Callable[..., Result], state: object, modules: Iterable[nn.Module]) -> Result:
    """Run a function, keep only its input, and run it again in the backward pass.

    Args:
        function: What to run.
        state: Its input.
        modules: What it runs; their running statistics are left as they are by the second run.

    Returns:
        What the function returns.
    """
    buffers = [buffer for module in modules for buffer in module.buffers()]
    return checkpoint(function, state, use_reentrant=False, context_fn=lambda: (nullcontext(), _Restoring(buffers)))


class _Restoring:
    """Puts buffers back as they were; may be entered again, for another backward pass through the same graph."""

    def __init__(self, buffers: Sequence[Tensor]) -> None:
        self._buffers = buffers
        self._before: list[Tensor] = []

    def __enter__(self) -> None:
        self._before = [buffer.clone() for buffer in self._buffers]

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for buffer, value in zip(self._buffers, self._before, strict=True):
                buffer.copy_(value)
