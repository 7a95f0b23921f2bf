"""Bytes alive: every storage counted from the operator that makes it until it is freed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class BytesAlive(TorchDispatchMode):
    """Counts the bytes of all tensors alive while it is entered.

    Sees each operator's results once they exist, also in backward passes and optimizers, on any device and on fake
    tensors. What an operator allocates and frees inside itself is not seen, nor is an allocator's rounding. Exact and
    repeatable.

    Args:
        *held: Tensors that were there before: parameters, buffers, gradients, the optimizer's state.
    """

    def __init__(self, *held: Tensor) -> None:
        super().__init__()
        self.current = 0
        self.peak = 0
        self._seen: set[int] = set()
        for tensor in held:
            self._see(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in pytree.tree_leaves(result):
            if isinstance(item, Tensor):
                self._see(item)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(key)
        self.current += size
        self.peak = max(self.peak, self.current)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.current -= size


def peak_bytes(step: Callable[[], object], held: Callable[[], Iterable[Tensor]]) -> int:
    """Largest number of bytes alive during the second of two steps.

    The first step makes gradients and the optimizer's state, so that the second is like all that follow.

    Args:
        step: One whole training step, from making the batch to the optimizer's update.
        held: What stays alive between steps: parameters, buffers, gradients, the optimizer's state.

    Returns:
        Bytes.
    """
    step()
    with BytesAlive(*held()) as meter:
        step()
    return meter.peak


def held_by(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Tensors that a model and its optimizer keep between steps.

    Args:
        module: The model.
        optimizer: Its optimizer.

    Returns:
        Parameters, buffers, gradients and the optimizer's state.
    """
    parameters = list(module.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    state = [value for values in optimizer.state.values() for value in values.values() if isinstance(value, Tensor)]
    return [*parameters, *module.buffers(), *gradients, *state]
