"""Activations that are learned from again where no newer ones have come."""

from __future__ import annotations

import time
from typing import Any

from typing_extensions import override

from locallearn.parallel.channel import Message, Receiver
from locallearn.parallel.replay_buffer import ReplayBuffer

GLANCE = 1.0
"""Seconds after which a waiting process looks whether the sender has ended."""


class ReplayingReceiver(Receiver):
    """Keeps the newest batches in a bounded buffer, so that neither side waits for the other.

    A process that is faster than the one before it learns from batches again; a slower one passes older batches by.
    All else arrives in order, as in `Receiver`.

    Args:
        *args: See `Receiver`.
        buffer: Holds the batches.
        **options: See `Receiver`.
    """

    def __init__(self, *args: Any, buffer: ReplayBuffer, **options: Any) -> None:
        self._buffer = buffer
        super().__init__(*args, **options)

    @override
    def take_batch(self) -> Message:
        with self._watch.explained("activations were awaited"):
            return self._read()

    @override
    def is_over(self) -> bool:
        return not self._queue.empty() and self.peek().last

    def _read(self) -> Message:
        since = time.monotonic()
        while True:
            try:
                return self._buffer.read(timeout=GLANCE)
            except TimeoutError:
                # What the thread could not receive is told here.
                if not self._queue.empty() and self.peek().last:
                    return self.peek()
                if (waited := time.monotonic() - since) > self._watch.timeout:
                    raise TimeoutError(f"none that may be learned from for {waited:.0f} s") from None

    @override
    def _keep(self, message: Message) -> None:
        if message.batch:
            self._buffer.put(message)
            self._room.release()
        else:
            super()._keep(message)


def receiver(*args: Any, replay: int | None, replay_uses: int | None, **options: Any) -> Receiver:
    """What receives batches in step, or keeps some to learn from again.

    Args:
        *args: See `Receiver`.
        replay: How many batches are kept; None keeps in step.
        replay_uses: How often each may be learned from; without end if None.
        **options: See `Receiver`.

    Returns:
        The receiver.

    Raises:
        InputError: A number is not positive.
    """
    if replay is None:
        return Receiver(*args, **options)
    return ReplayingReceiver(*args, buffer=ReplayBuffer(replay, max_uses=replay_uses), **options)
