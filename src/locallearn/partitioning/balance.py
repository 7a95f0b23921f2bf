"""How many units each block gets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from locallearn.partitioning.block import Block, State, activation, with_activation


def even_sizes(num_units: int, num_blocks: int) -> list[int]:
    """Sizes that differ by at most one, the smaller first: the rule of InfoPro's published cuts.

    Args:
        num_units: How many units there are.
        num_blocks: How many blocks to make, at most `num_units`.

    Returns:
        Units per block.
    """
    size, larger = divmod(num_units, num_blocks)
    return [size] * (num_blocks - larger) + [size + 1] * larger


def balanced_sizes(costs: Sequence[float], num_blocks: int, *, at_end: Sequence[float] | None = None) -> list[int]:
    """Sizes for which the costliest block is as cheap as possible; among those, about the most even.

    Args:
        costs: Cost of each unit.
        num_blocks: How many blocks to make, at most the number of units.
        at_end: What a block that ends with each unit costs besides; nothing if None.

    Returns:
        Units per block.
    """
    count = len(costs)
    at_end = [0.0] * count if at_end is None else at_end
    total = [0.0]
    for cost in costs:
        total.append(total[-1] + cost)
    best = [(0.0, 0.0)] + [(float("inf"), 0.0)] * count
    choices = []
    for block in range(1, num_blocks + 1):
        row, choice = [(float("inf"), 0.0)] * (count + 1), [0] * (count + 1)
        for stop in range(block, count + 1):
            options = []
            for start in range(block - 1, stop):
                cost = total[stop] - total[start] + at_end[stop - 1]
                options.append(((max(best[start][0], cost), best[start][1] + cost * cost), start))
            row[stop], choice[stop] = min(options)
        best = row
        choices.append(choice)
    sizes, stop = [], count
    for choice in reversed(choices):
        sizes.append(stop - choice[stop])
        stop = choice[stop]
    return sizes[::-1]


def saved_bytes(pieces: Sequence[Block], network: nn.Module, example: Tensor) -> list[float]:
    """Bytes that each piece keeps for its backward pass, parameters apart.

    Args:
        pieces: A chain of blocks.
        network: The network they belong to.
        example: One input batch.

    Returns:
        Bytes for each piece.
    """
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    costs = []
    state: State = example
    for piece in pieces:
        sizes: dict[int, int] = {}

        def note(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                sizes[storage._cdata] = storage.nbytes()
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            state = piece(with_activation(state, activation(state).detach()))
        costs.append(float(sum(sizes.values())))
    return costs


def forward_flops(pieces: Sequence[Block], example: Tensor) -> list[float]:
    """Floating-point operations of each piece's matrix products and convolutions, forward.

    Args:
        pieces: A chain of blocks.
        example: One input batch.

    Returns:
        Operations for each piece.
    """
    costs = []
    state: State = example
    for piece in pieces:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            state = piece(state)
        costs.append(float(counter.get_total_flops()))
    return costs
