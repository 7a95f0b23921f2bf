"""Who is where: what turns a process that does not answer into a message that names it and its block."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from typing_extensions import override

from locallearn.engine.step_listener import StepListener
from locallearn.errors import InputError, TrainingStopped

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 4.0
"""Seconds without a sign after which a process is taken for gone."""
WORD = "word"


@dataclass(frozen=True)
class _Sign:
    """A process's last sign of life."""

    beat: int
    step: int
    block: int
    standing: float


class Watch(StepListener):
    """Leaves a sign of life every second, with step and block, and reads those of others when one does not answer.

    Args:
        store: What all processes read and write; None if there is one process alone.
        rank: This process.
        world: How many there are.
        timeout: Seconds that a process waits for another.
    """

    def __init__(self, store: Store | None, rank: int, world: int, timeout: float) -> None:
        self.timeout = timeout
        self.step = 0
        self._store = store and PrefixStore("locallearn/watch", store)
        self._rank = rank
        self._world = world
        self._block = 0
        self._moved = time.monotonic()
        self._beat = 0
        self._over = threading.Event()
        if self._store is not None:
            self._sign()
            threading.Thread(target=self._beating, daemon=True, name="signs of life").start()

    @override
    def before_block(self, index: int) -> None:
        self._block, self._moved = index, time.monotonic()

    def begin_step(self, step: int) -> None:
        """Say which step the process is at.

        Args:
            step: Counted from 1.
        """
        self.step, self._moved = step, time.monotonic()

    def wait(self, work: dist.Work, doing: str) -> None:
        """Wait for a transfer.

        Args:
            work: What was begun.
            doing: For the message, in the past: "gradients were summed".

        Raises:
            TrainingStopped: Another process has ended, or does not answer in time.
        """
        with self.explained(doing):
            work.wait(timedelta(seconds=self.timeout))

    @contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Turn what torch.distributed raises into a message that names process and block.

        Args:
            doing: For the message, in the past.

        Yields:
            None: While something is sent or received.

        Raises:
            TrainingStopped: Another process has ended, or does not answer in time.
        """
        try:
            yield
        except TrainingStopped:
            raise
        except (RuntimeError, TimeoutError) as error:
            raise TrainingStopped(self._word() or self._explanation(doing, error)) from error

    def close(self) -> None:
        """Leave no more signs."""
        self._over.set()

    def __enter__(self) -> Self:
        """Begin.

        Returns:
            Itself.
        """
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no more signs; others are told of an error that ends this process."""
        if isinstance(error, Exception):
            self._leave_word(error)
        self.close()

    def _beating(self) -> None:
        while not self._over.wait(BEAT):
            try:
                self._sign()
            except RuntimeError:
                return

    def _sign(self) -> None:
        self._beat += 1
        assert self._store is not None
        sign = [self._beat, self.step, self._block, time.monotonic() - self._moved]
        self._store.set(str(self._rank), json.dumps(sign))

    def _leave_word(self, error: Exception) -> None:
        # The first error is the cause of those in other processes.
        name = "" if isinstance(error, TrainingStopped | InputError) else f"{type(error).__name__}: "
        try:
            if self._store is not None and not self._store.check([WORD]):
                self._store.set(WORD, f"Process {self._rank} stopped: {name}{error}")
        except RuntimeError:
            return

    def _word(self) -> str:
        try:
            return self._store.get(WORD).decode() if self._store is not None and self._store.check([WORD]) else ""
        except RuntimeError:
            return ""

    def _explanation(self, doing: str, error: Exception) -> str:
        reason = str(error).strip().partition("\n")[0]
        return f"The processes lost each other while {doing}: {self._who()} ({reason})"

    def _who(self) -> str:
        if self._store is None:
            return "which one ended or stands is not known, because none leaves signs of life"
        others = [rank for rank in range(self._world) if rank != self._rank]
        try:
            before = {rank: self._seen(rank) for rank in others}
            time.sleep(SILENCE)
            after = {rank: self._seen(rank) for rank in others}
        except RuntimeError:
            return "process 0, through which they find each other, has ended or cannot be reached"
        found = [_told(rank, before[rank], after[rank]) for rank in others]
        return "; ".join(filter(None, found)) or "all processes are alive, so a network or memory fault is likely"

    def _seen(self, rank: int) -> _Sign | None:
        assert self._store is not None
        if not self._store.check([str(rank)]):
            return None
        return _Sign(*json.loads(self._store.get(str(rank))))


def _told(rank: int, before: _Sign | None, after: _Sign | None) -> str:
    if before is None or after is None:
        return f"process {rank} never began"
    place = f"block {after.block} of step {after.step}"
    if before.beat == after.beat:
        return f"process {rank} ended, last seen in {place}"
    if after.standing > SILENCE:
        return f"process {rank} has stood in {place} for {after.standing:.0f} s"
    return ""
