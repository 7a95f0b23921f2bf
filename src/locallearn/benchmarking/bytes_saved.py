"""Bytes saved: what autograd keeps for backward passes, seen by its own hooks."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor


class _Saved:
    """A tensor that autograd keeps, alive as long as autograd needs it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class BytesSaved:
    """Counts the distinct storages that autograd keeps at a time while it is entered, and their peak.

    Hooks see what operators save, not what is kept otherwise: inputs that checkpointing keeps to run something again,
    gradients, temporaries. A context manager.

    Args:
        known: Tensors that exist anyway, such as parameters; their storages do not count.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        self.current = 0
        self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._holders: Counter[int] = Counter()
        self._hooks: Any = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda saved: saved.tensor)

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self._hooks.__exit__(*problem)

    def _pack(self, tensor: Tensor) -> _Saved:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        saved = _Saved(tensor)
        if key not in self._known:
            if not self._holders[key]:
                self.current += size
                self.peak = max(self.peak, self.current)
            self._holders[key] += 1
            weakref.finalize(saved, self._release, key, size)
        return saved

    def _release(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self.current -= size
