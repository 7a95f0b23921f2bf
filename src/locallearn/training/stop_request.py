"""SIGTERM and SIGINT as a request that the run answers at its next safe point."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_CODE = 143


class Interrupted(Exception):
    """The run was asked to stop; its state is whole."""


class StopRequest:
    """Within this context the first SIGTERM or SIGINT only raises a flag; a second one acts as it did before.

    Outside the main thread, where Python takes no signals, nothing is changed and the flag stays down.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Stop here if asked to.

        Raises:
            Interrupted: A signal has come.
        """
        if self.requested:
            raise Interrupted

    def __enter__(self) -> Self:
        """Take the signals over.

        Returns:
            Itself.
        """
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._flag) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        self._give_back()

    def _flag(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
