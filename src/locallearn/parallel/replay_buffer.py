"""A bounded buffer of mini-batches between a block and the next, which may work at another pace."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from locallearn.errors import InputError, listed

Slot = tuple[Any, int]
"""An entry and how often it was read."""


class ReplayBuffer:
    """Holds the newest mini-batches that one block made and the next learns from; the oldest gives way.

    A reader gets the entry that was read least, the newest among equals. So a slower writer's batches are learnt from
    several times, evenly, and a slower reader always has the newest. One thread may write while another reads.

    Source: Belilovsky, Eickenberg, Oyallon. Decoupled Greedy Learning of CNNs. ICML 2020, Algorithm 2. Authors' code:
        eugenium/DGL at 597b82d7, buffer_experiments/cifar_buffer.py.
    Departures: Of a full buffer whose entries were read equally often the released code returns the oldest, by an
        inequality that is strict where it should not be: of capacity 4, after 0 to 5 were written, it reads 2, 5, 4, 3
        and this 5, 4, 3, 2. Uses are counted from 0, not from 1, so that `max_uses=1` serves every entry once, and with
        capacity 1 too. Entries stay on their device.

    Args:
        capacity: How many mini-batches are held, at least 1.
        max_uses: How often an entry may be read; without end if None.

    Raises:
        InputError: A number is not positive.

    Example:
        >>> buffer = ReplayBuffer(capacity=4)
        >>> for number in range(6):
        ...     buffer.put(number)
        >>> [buffer.read() for _ in range(5)]
        [5, 4, 3, 2, 5]
    """

    def __init__(self, capacity: int, *, max_uses: int | None = None) -> None:
        if problems := buffer_problems(capacity, max_uses):
            raise InputError(listed(problems))
        self.max_uses = max_uses
        self._slots: deque[Slot] = deque(maxlen=capacity)
        self._changed = Condition()

    @property
    def capacity(self) -> int:
        """How many mini-batches are held at most."""
        return self._slots.maxlen or 0

    def __len__(self) -> int:
        """How many mini-batches are held."""
        return len(self._slots)

    def put(self, entry: Any) -> None:
        """Add a mini-batch as the newest, in place of the oldest if the buffer is full.

        Args:
            entry: Tensors in tuples, lists and dictionaries; what is held has no graph, but the same memory.
        """
        held = pytree.tree_map_only(Tensor, Tensor.detach, entry)
        with self._changed:
            self._slots.append((held, 0))
            self._changed.notify()

    def read(self, timeout: float = 0.0) -> Any:
        """The mini-batch to learn from next; it stays in the buffer.

        Args:
            timeout: Seconds to wait for one that may be read.

        Returns:
            The entry read least so far, the newest among equals.

        Raises:
            TimeoutError: There was none that long: nothing was written, or all was read `max_uses` times.
        """
        with self._changed:
            if not self._changed.wait_for(self._readable, timeout):
                raise TimeoutError(f"No mini-batch to read within {timeout:g} s; the buffer holds {len(self)}.")
            place = min(reversed(range(len(self._slots))), key=lambda place: self._slots[place][1])
            entry, uses = self._slots[place]
            self._slots[place] = entry, uses + 1
            return entry

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs.

        Returns:
            `"slots"`: pairs of entry and uses, the oldest first; tensors are not copied.
        """
        with self._changed:
            return {"slots": list(self._slots)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another buffer was.

        Args:
            state: What its `state_dict` returned.

        Raises:
            InputError: It held more than this buffer can.
        """
        slots = [(entry, int(uses)) for entry, uses in state["slots"]]
        if len(slots) > self.capacity:
            raise InputError(
                f"The stored buffer holds {len(slots)} mini-batches and this one has a capacity of {self.capacity}; "
                "give it the capacity it was stored with."
            )
        with self._changed:
            self._slots.clear()
            self._slots.extend(slots)
            self._changed.notify()

    def _readable(self) -> bool:
        return any(self.max_uses is None or uses < self.max_uses for _, uses in self._slots)


def buffer_problems(capacity: object, max_uses: object) -> list[str]:
    """What is wrong with a buffer's numbers.

    Args:
        capacity: See `ReplayBuffer`.
        max_uses: Likewise.

    Returns:
        A sentence for each.
    """
    given = {"capacity": capacity} if max_uses is None else {"capacity": capacity, "max_uses": max_uses}
    return [
        f"A replay buffer's {name} must be a whole number of at least 1, not {number!r}."
        for name, number in given.items()
        if type(number) is not int or number < 1
    ]
