"""Run something, keep only its input, and run it again in the backward pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")


class LastingMode(TorchFunctionMode):
    """A mode that is entered again for what `recomputed` runs again, so that both runs keep the same."""

    @abstractmethod
    def apart(self) -> AbstractContextManager[None]:
        """A context within the mode in which nothing is known of what was computed outside of it.

        Returns:
            A context manager.
        """


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
    lasting = [mode for mode in _get_current_function_mode_stack() if isinstance(mode, LastingMode)]
    contexts = _FirstRun(lasting), _SecondRun(lasting, buffers)
    return checkpoint(function, state, use_reentrant=False, context_fn=lambda: contexts)


class _FirstRun:
    """Keeps what is computed within unknown to lasting modes, and the other way round."""

    def __init__(self, modes: Sequence[LastingMode]) -> None:
        self._modes = modes
        self._entered = ExitStack()

    def __enter__(self) -> None:
        for mode in self._modes:
            self._entered.enter_context(mode.apart())

    def __exit__(self, *details: Any) -> None:
        self._entered.__exit__(*details)


class _SecondRun:
    """Enters modes again and puts buffers back as they were.

    May be entered again, for another backward pass through the same graph.
    """

    def __init__(self, modes: Sequence[LastingMode], buffers: Sequence[Tensor]) -> None:
        self._modes = modes
        self._entered = ExitStack()
        self._buffers = buffers
        self._before: list[Tensor] = []

    def __enter__(self) -> None:
        self._before = [buffer.clone() for buffer in self._buffers]
        for mode in self._modes:
            self._entered.enter_context(mode)

    def __exit__(self, *details: Any) -> None:
        self._entered.__exit__(*details)
        with torch.no_grad():
            for buffer, value in zip(self._buffers, self._before, strict=True):
                buffer.copy_(value)
        self._before = []
