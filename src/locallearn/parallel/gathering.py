"""Samples of all processes, for losses that compare samples with each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Gather(torch.autograd.Function):
    """Joins the rows of all processes; each gets back the sum of the gradients that all have for its rows."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sizes: tuple[int, ...], group: dist.ProcessGroup | None) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        padded = values.new_zeros(max(sizes), *values.shape[1:])
        padded[: len(values)] = values
        rows = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(rows, padded, group=group)
        return torch.cat([piece[:size] for piece, size in zip(rows, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient.split(ctx.sizes)[dist.get_rank(ctx.group)], None, None


class Gathering:
    """Joins what the processes of a group have of one batch.

    Args:
        group: The processes; all if None.
    """

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self._group = group
        self._sizes: tuple[int, ...] = ()

    def begin(self, samples: int, device: torch.device) -> None:
        """Tell the others how many samples of the next batch are here.

        Args:
            samples: How many.
            device: Where they are.
        """
        own = torch.tensor([samples], device=device)
        sizes = [torch.empty_like(own) for _ in range(dist.get_world_size(self._group))]
        dist.all_gather(sizes, own, group=self._group)
        self._sizes = tuple(int(size) for size in torch.cat(sizes).tolist())

    def __call__(self, values: Tensor) -> Tensor:
        """Join the rows of all processes in their order.

        Args:
            values: `(n, ...)`, as many rows as `begin` said.

        Returns:
            `(N, ...)`; its gradient, summed over the processes, goes back to their own rows.
        """
        joined = _Gather.apply(values, self._sizes, self._group)
        assert isinstance(joined, Tensor)
        return joined
