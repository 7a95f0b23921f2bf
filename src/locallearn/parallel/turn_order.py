"""Which block works next, when some are slow."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Literal

import torch

from locallearn.errors import InputError, listed

Order = Literal["random", "round_robin"]


class TurnOrder:
    """Whose turn it is: two turns each in order, then drawn, slow blocks less often; or round robin.

    Source: Belilovsky, Eickenberg, Oyallon. Decoupled Greedy Learning of CNNs. ICML 2020, Algorithm 2. Authors' code:
        eugenium/DGL at 597b82d7, buffer_experiments/cifar_buffer.py.
    Departures: Any block may be slow, not one alone. The released code restarts the first turns at every decay of a
        block's rate.

    Args:
        num_blocks: K.
        slow: For slow blocks, how many turns others have in one of theirs, on average; at least 1.
        order: What follows the first turns; round robin has none.
        seed: Of what is drawn.

    Raises:
        InputError: An argument does not fit.
    """

    def __init__(
        self, num_blocks: int, *, slow: Mapping[int, float] | None = None, order: Order = "random", seed: int = 0
    ) -> None:
        slow = slow or {}
        if problems := order_problems(num_blocks, slow, order):
            raise InputError(listed(problems))
        self.block = 0
        self.order = order
        self.chances = torch.tensor([1 / slow.get(block, 1) for block in range(num_blocks)], dtype=torch.float64)
        self._taken = 0
        self._generator = torch.Generator().manual_seed(seed)

    def advance(self) -> None:
        """Let `block` be the one after."""
        self._taken += 1
        count = len(self.chances)
        if self.order == "round_robin":
            self.block = self._taken % count
        elif self._taken < 2 * count:
            self.block = self._taken // 2
        else:
            self.block = int(torch.multinomial(self.chances, 1, generator=self._generator))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs.

        Returns:
            Numbers and a tensor.
        """
        return {"block": self.block, "taken": self._taken, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another order was.

        Args:
            state: What its `state_dict` returned.
        """
        self.block, self._taken = state["block"], state["taken"]
        self._generator.set_state(state["generator"].cpu())


def order_problems(num_blocks: int, slow: Mapping[int, float], order: object) -> list[str]:
    """What is wrong with the turns that are asked for.

    Args:
        num_blocks: See `TurnOrder`.
        slow: Likewise.
        order: Likewise.

    Returns:
        A sentence for each.
    """
    problems = [
        f"slow={{{block!r}: {factor!r}}} must name a block of 0 to {num_blocks - 1} and a finite factor of at least 1."
        for block, factor in slow.items()
        if block not in range(num_blocks) or not 1 <= factor < inf
    ]
    if order not in ("random", "round_robin"):
        problems.append(f"order must be 'random' or 'round_robin', not {order!r}.")
    if order == "round_robin" and slow:
        problems.append("In round robin no block is slower than others: leave out slow=, or take order='random'.")
    return problems
