"""Activations on their way from one process to the next, sent and received while both compute."""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from locallearn.errors import InputError, TrainingStopped
from locallearn.parallel.memory_order import dense_strides, in_memory_order
from locallearn.parallel.watch import Watch

HEADER_BYTES = 4096
DTYPES = {str(dtype): dtype for dtype in (
    torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool,
)}  # fmt: skip


class Message(NamedTuple):
    """What passes from the blocks of one process to those of the next.

    Args:
        items: Tensors, and numbers or None in between, in an order both sides know; nothing if `last`.
        last: Whether no more batches follow, because the run was asked to stop.
        batch: Whether it is a batch to learn from.
    """

    items: tuple[Any, ...]
    last: bool = False
    batch: bool = False


class Sender:
    """Sends messages without waiting, as long as not too many are under way.

    Args:
        to: Rank of the receiving process.
        group: Used by this pair in this direction alone.
        depth: How many messages may be under way.
        watch: Explains who does not answer.
        transfer: Type in which the first item travels; its own if None.
    """

    def __init__(
        self, to: int, group: dist.ProcessGroup, *, depth: int, watch: Watch, transfer: torch.dtype | None = None
    ) -> None:
        self._to, self._group, self._depth, self._watch, self._transfer = to, group, depth, watch, transfer
        self._under_way: deque[list[tuple[dist.Work, Tensor]]] = deque()

    def send(self, message: Message) -> None:
        """Send a message; waits while too many are under way.

        Args:
            message: Its tensors must not be changed any more.

        Raises:
            InputError: An item is neither a tensor of a known type nor plain.
            TrainingStopped: The receiver has ended, or does not take anything in time.
        """
        while len(self._under_way) >= self._depth:
            self._wait_for_oldest()
        header, tensors = _packed(message, self._transfer)
        with self._watch.explained("activations were sent"):
            self._under_way.append([(_sent(tensor, self._to, self._group), tensor) for tensor in (header, *tensors)])

    def finish(self) -> None:
        """Wait until all has arrived.

        Raises:
            TrainingStopped: See `send`.
        """
        while self._under_way:
            self._wait_for_oldest()

    def _wait_for_oldest(self) -> None:
        for work, _ in self._under_way.popleft():
            self._watch.wait(work, "activations were sent")


class Receiver:
    """Receives messages ahead of their use, in a thread of its own.

    Args:
        source: Rank of the sending process.
        group: Used by this pair in this direction alone.
        device: Where the tensors are wanted.
        depth: How many messages may wait for their use.
        watch: Explains who does not answer.
        arrived: Called in the thread with the size of each message in bytes before it is handed on.
    """

    def __init__(
        self,
        source: int,
        group: dist.ProcessGroup,
        *,
        device: torch.device,
        depth: int,
        watch: Watch,
        arrived: Callable[[int], None] | None = None,
    ) -> None:
        self._source, self._group, self._device, self._watch, self._arrived = source, group, device, watch, arrived
        self._queue: queue.SimpleQueue[Message | Exception] = queue.SimpleQueue()
        self._ahead: Message | None = None
        self._room = threading.Semaphore(depth)
        threading.Thread(target=self._receive, daemon=True, name=f"activations of process {source}").start()

    def peek(self) -> Message:
        """The next message, which stays the next.

        Returns:
            The message.

        Raises:
            TrainingStopped: The sender has ended, or sends nothing in time.
        """
        if self._ahead is None:
            with self._watch.explained("activations were awaited"):
                self._ahead = self._next()
        return self._ahead

    def take(self) -> Message:
        """The next message.

        Returns:
            The message.

        Raises:
            TrainingStopped: See `peek`.
        """
        message, self._ahead = self.peek(), None
        self._room.release()
        return message

    def take_batch(self) -> Message:
        """The next message to learn from.

        Returns:
            The message.

        Raises:
            TrainingStopped: See `peek`.
        """
        return self.take()

    def is_over(self) -> bool:
        """Whether the sender says that no batches follow; waits until it sends one or that.

        Returns:
            True if so.

        Raises:
            TrainingStopped: See `peek`.
        """
        return self.peek().last

    def _next(self) -> Message:
        try:
            found = self._queue.get(timeout=self._watch.timeout)
        except queue.Empty:
            raise TimeoutError(f"none for {self._watch.timeout:g} s") from None
        if isinstance(found, Exception):
            raise found
        return found

    def _receive(self) -> None:
        try:
            last = False
            while not last:
                self._room.acquire()
                header = torch.empty(HEADER_BYTES, dtype=torch.uint8)
                dist.recv(header, self._source, group=self._group)
                message, size = _unpacked(header, self._tensor)
                if self._arrived is not None:
                    self._arrived(size)
                self._keep(message)
                last = message.last
        except Exception as error:  # told where the message is awaited
            self._queue.put(error)

    def _keep(self, message: Message) -> None:
        self._queue.put(message)

    def _tensor(self, shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
        received = torch.empty_strided(shape, stride, dtype=dtype, device=self._device)
        dist.recv(in_memory_order(received), self._source, group=self._group)
        return received


def _sent(tensor: Tensor, to: int, group: dist.ProcessGroup) -> dist.Work:
    work = dist.isend(tensor, to, group=group)
    if work is None:
        raise TrainingStopped(f"Process {to} is not in the group that activations are sent through.")
    return work


def _packed(message: Message, transfer: torch.dtype | None) -> tuple[Tensor, list[Tensor]]:
    described: list[Any] = []
    tensors: list[Tensor] = []
    for index, item in enumerate(message.items):
        if not isinstance(item, Tensor):
            described.append({"plain": item})
            continue
        own, values = item.dtype, item.detach()
        if index == 0 and transfer is not None and own.is_floating_point:
            values = values.to(transfer)
        if str(own) not in DTYPES:
            raise InputError(f"Tensors of type {own} cannot be sent from process to process; known are {list(DTYPES)}.")
        if values.stride() != dense_strides(values):
            values = values.contiguous()
        described.append([list(values.shape), list(values.stride()), str(values.dtype), str(own)])
        tensors.append(in_memory_order(values))
    try:
        text = json.dumps({"last": message.last, "batch": message.batch, "items": described}).encode()
    except TypeError as error:
        raise InputError(f"What a block hands on beside tensors must be numbers or None ({error}).") from error
    if len(text) > HEADER_BYTES:
        raise InputError(f"A block hands on too many values to describe in {HEADER_BYTES} bytes: cut elsewhere.")
    return torch.frombuffer(bytearray(text.ljust(HEADER_BYTES)), dtype=torch.uint8), tensors


def _unpacked(
    header: Tensor, receive: Callable[[Sequence[int], Sequence[int], torch.dtype], Tensor]
) -> tuple[Message, int]:
    described = json.loads(bytes(header.numpy()))
    items: list[Any] = []
    size = 0
    for entry in described["items"]:
        if isinstance(entry, dict):
            plain = entry["plain"]
            items.append(tuple(plain) if isinstance(plain, list) else plain)
            continue
        shape, stride, travels, own = entry
        values = receive(shape, stride, DTYPES[travels])
        size += values.nbytes
        items.append(values.to(DTYPES[own]))
    return Message(tuple(items), described["last"], described["batch"]), size
