"""The counters of batches of all BatchNorms, moved on together once per step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

COUNTER = "num_batches_tracked"


class _Count:
    """Stands in for a counter while a step runs: what modules and recomputation do to it happens on the host."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def add_(self, more: int) -> _Count:
        self.value += more
        return self

    def clone(self) -> _Count:
        return _Count(self.value)

    def copy_(self, other: _Count) -> _Count:
        self.value = other.value
        return self

    def is_floating_point(self) -> bool:
        return False


@contextmanager
def counting_together(model: nn.Module) -> Iterator[None]:
    """Count the batches that BatchNorms see, and add all counts at the end by one operation.

    Modules with `momentum=None`, which read their counter, count for themselves.

    Args:
        model: Owns the modules.

    Yields:
        None: While batches are counted.
    """
    modules = [module for module in model.modules() if _counts(module)]
    counters = [module._buffers[COUNTER] for module in modules]
    counts = [_Count() for _ in modules]
    for module, count in zip(modules, counts, strict=True):
        module._buffers[COUNTER] = cast(Any, count)
    try:
        yield
    finally:
        for module, counter in zip(modules, counters, strict=True):
            module._buffers[COUNTER] = counter
        _add(counters, counts)


def _counts(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.momentum is not None and module.num_batches_tracked is not None


def _add(counters: list[Tensor | None], counts: list[_Count]) -> None:
    moved = [(t, count.value) for t, count in zip(counters, counts, strict=True) if t is not None and count.value]
    if moved:
        tensors, values = zip(*moved, strict=True)
        torch._foreach_add_(list(tensors), list(values))  # pyright: ignore[reportPrivateImportUsage]
