"""SIGTERM and SIGINT as a request that the run answers at its next safe point."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """The run was asked to stop; its state is whole."""


class StopRequest:
    """Within this context the first SIGTERM or SIGINT is only noted; a second one acts as it did before.

    Args:
        patient: Ignore further ones, which torchrun passes on beside those that reach the process itself; it ends
            processes by force that do not end in time.

    `exit_code` is then what the process should exit with, 128 and the signal's number: 143 after SIGTERM, 130 after
    SIGINT (Ctrl-C). Outside the main thread, where Python takes no signals, nothing is changed and it stays None.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        self.exit_code: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over.

        Returns:
            Itself.
        """
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        self._give_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = 128 + number
        if not self._patient:
            self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
