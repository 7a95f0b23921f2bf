"""Run something, keep only its input, and run it again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
    return checkpoint(function, state, use_reentrant=False, context_fn=lambda: (nullcontext(), _restoring(buffers)))


@contextmanager
def _restoring(buffers: Sequence[Tensor]) -> Iterator[None]:
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
