"""Parameters that copies in other processes follow: the only thing that goes back through a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from locallearn.parallel.watch import Watch


class Route(NamedTuple):
    """Tensors of the network that one process trains and another one's copies follow.

    Args:
        owner: Rank of the one.
        follower: Rank of the other.
        names: Of the tensors, in an order both know.
    """

    owner: int
    follower: int
    names: tuple[str, ...]


def routes(sources: Sequence[set[str]], owned: Sequence[set[str]], ranks: Sequence[int]) -> list[Route]:
    """What has to be sent from where to where.

    Args:
        sources: For each stage the names that its objectives' copies follow.
        owned: For each stage the names of what it trains.
        ranks: The process of each stage.

    Returns:
        A route for each pair of stages that has something to send.
    """
    found = []
    for follower, wanted in enumerate(sources):
        for owner, names in enumerate(owned):
            if owner != follower and (shared := wanted & names):
                found.append(Route(ranks[owner], ranks[follower], tuple(sorted(shared))))
    return found


class SourceExchange:
    """Sends what others follow after every so many steps, and receives what follows others before it is needed.

    Args:
        own: Tensors of this process by name; read when they are sent.
        heard: Values of tensors that other processes train, by name; written over when newer ones come.
        plan: All routes.
        group: Used for what goes back.
        every: Steps between two exchanges.
        watch: Explains who does not answer.
    """

    def __init__(
        self,
        own: Mapping[str, Tensor],
        heard: Mapping[str, Tensor],
        plan: Sequence[Route],
        group: dist.ProcessGroup,
        *,
        every: int,
        watch: Watch,
    ) -> None:
        rank = dist.get_rank()
        self._own, self._heard, self._group, self._every, self._watch = own, heard, group, every, watch
        self._sending = [route for route in plan if route.owner == rank]
        self._receiving = [route for route in plan if route.follower == rank]
        self._sent: list[tuple[dist.Work, Tensor]] = []
        self._coming: list[tuple[dist.Work, Tensor, list[Tensor]]] = []

    def after_step(self, step: int) -> None:
        """Begin an exchange where one is due; call once the optimizer has taken its step.

        Args:
            step: Counted from 1.
        """
        if step % self._every:
            return
        self.finish()
        with self._watch.explained("followed parameters were exchanged"), torch.no_grad():
            for route in self._sending:
                for tensors in _by_type([self._own[name] for name in route.names]):
                    joined = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
                    self._sent.append((_begun(dist.isend(joined, route.follower, group=self._group)), joined))
            for route in self._receiving:
                for tensors in _by_type([self._heard[name] for name in route.names]):
                    joined = tensors[0].new_empty(sum(tensor.numel() for tensor in tensors))
                    work = _begun(dist.irecv(joined, route.owner, group=self._group))
                    self._coming.append((work, joined, tensors))

    def receive(self) -> None:
        """Wait for what is on its way here and take it over.

        Raises:
            TrainingStopped: A process has ended, or sends nothing in time.
        """
        for work, joined, tensors in self._coming:
            self._watch.wait(work, "followed parameters were exchanged")
            for tensor, values in zip(tensors, joined.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(values.view(tensor.shape))
        self._coming = []

    def finish(self) -> None:
        """Wait until what was sent has arrived.

        Raises:
            TrainingStopped: A process has ended, or takes nothing in time.
        """
        for work, _ in self._sent:
            self._watch.wait(work, "followed parameters were exchanged")
        self._sent = []


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    types = dict.fromkeys(tensor.dtype for tensor in tensors)
    return [[tensor for tensor in tensors if tensor.dtype == dtype] for dtype in types]


def _begun(work: dist.Work | None) -> dist.Work:
    assert work is not None
    return work
