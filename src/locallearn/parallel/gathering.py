"""Samples of all processes, for losses that compare samples with each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from locallearn.parallel.watch import Watch


class _Gather(torch.autograd.Function):
    """Joins the rows of all processes; each gets back the sum of the gradients that all have for its rows."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, gathering: Gathering) -> Tensor:
        ctx.gathering, ctx.sizes = gathering, gathering.sizes
        padded = values.new_zeros(max(ctx.sizes), *values.shape[1:])
        padded[: len(values)] = values
        pieces = zip(gathering.collected(padded), ctx.sizes, strict=True)
        return torch.cat([piece[:size] for piece, size in pieces])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # A copy: what arrives may go to others as well.
        summed = ctx.gathering.summed(gradients[0].clone(memory_format=torch.contiguous_format))
        return summed.split(ctx.sizes)[ctx.gathering.rank], None


class Gathering:
    """Joins what the processes of a group have of one batch.

    Args:
        group: The processes; all if None.
        watch: Explains who does not answer.
    """

    def __init__(self, group: dist.ProcessGroup | None, watch: Watch) -> None:
        self.rank = dist.get_rank(group)
        self.sizes: tuple[int, ...] = ()
        self._group = group
        self._watch = watch

    def begin(self, samples: int, device: torch.device) -> None:
        """Tell the others how many samples of the next batch are here.

        Args:
            samples: How many.
            device: Where they are.

        Raises:
            TrainingStopped: A process has ended, or does not answer in time.
        """
        sizes = torch.cat(self.collected(torch.tensor([samples], device=device)))
        self.sizes = tuple(int(size) for size in sizes.tolist())

    def __call__(self, values: Tensor) -> Tensor:
        """Join the rows of all processes in their order.

        Args:
            values: `(n, ...)`, as many rows as `begin` said.

        Returns:
            `(N, ...)`; its gradient, summed over the processes, goes back to their own rows.
        """
        joined = _Gather.apply(values, self)
        assert isinstance(joined, Tensor)
        return joined

    def collected(self, own: Tensor) -> list[Tensor]:
        """What each process has.

        Args:
            own: Of the same shape in all.

        Returns:
            A tensor of each process, in their order.

        Raises:
            TrainingStopped: A process has ended, or does not answer in time.
        """
        found = [torch.empty_like(own) for _ in range(dist.get_world_size(self._group))]
        with self._watch.explained("samples were gathered"):
            work = dist.all_gather(found, own, group=self._group, async_op=True)
        assert work is not None
        self._watch.wait(work, "samples were gathered")
        return found

    def summed(self, values: Tensor) -> Tensor:
        """The sum over the processes.

        Args:
            values: Of the same shape in all; written over.

        Returns:
            The same tensor.

        Raises:
            TrainingStopped: A process has ended, or does not answer in time.
        """
        with self._watch.explained("samples were gathered"):
            work = dist.all_reduce(values, group=self._group, async_op=True)
        assert work is not None
        self._watch.wait(work, "samples were gathered")
        return values
