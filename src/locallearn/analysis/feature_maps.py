"""What single channels of every block show of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from locallearn.auxiliary.tokens import TokenMap
from locallearn.compatibility import has_channels_last
from locallearn.errors import InputError, listed
from locallearn.local_model import LocalModel
from locallearn.partitioning.block import Block, State, activation
from locallearn.training.evaluation import evaluating


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """Some channels of a block's output.

    Args:
        block: Counted from 1.
        shape: Channels, rows and columns of the whole output; of tokens those of the grid of patches.
        channels: Which channels are shown, counted from 0.
        maps: (N, len(channels), rows, columns), float32, on the CPU; every map brought to [0, 1] by itself.
    """

    block: int
    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    maps: Tensor


def block_maps(model: LocalModel, inputs: Tensor) -> list[Tensor]:
    """The outputs of all blocks as maps; of the last block that of its last unit, before pool and classifier.

    Args:
        model: Of any network; put into evaluation mode meanwhile.
        inputs: (N, C, H, W), as the network reads them.

    Returns:
        For each block (N, C, H, W); channels that come last are moved, tokens laid out as the grid of patches.

    Raises:
        InputError: Some block hands on neither maps nor the tokens of a grid; all of them are named.
    """
    *front, last = model.partition.blocks
    before_head = Block(
        model.network, model.partition.traced, model.partition.infos[-1].units.start, len(model.partition.units)
    )
    before_head.copies_input = last.copies_input
    channels_last = has_channels_last(model.partition.units)
    state: State = inputs
    found, problems = [], []
    with evaluating(model):
        for index, block in enumerate([*front, before_head], 1):
            state = block(state)
            try:
                found.append(_as_map(activation(state).float().cpu(), inputs.shape[1:], channels_last=channels_last))
            except InputError:
                problems.append(f"block {index} hands on {tuple(activation(state).shape[1:])}")
    if problems:
        raise InputError(
            f"Feature maps have rows and columns, and {', '.join(problems)}: cut the network where it has maps or the "
            "tokens of square patches."
        )
    return found


def strongest_channels(maps: Tensor, count: int) -> tuple[int, ...]:
    """The channels of largest variance over all images and places; of equal ones the first.

    Args:
        maps: (N, C, H, W).
        count: How many; all channels if there are fewer.

    Returns:
        Their numbers, those of the largest variance first.
    """
    variances = maps.double().transpose(0, 1).flatten(1).var(1, correction=0)
    return tuple(variances.sort(descending=True, stable=True).indices[:count].tolist())


def in_own_range(maps: Tensor) -> Tensor:
    """Every map brought to [0, 1] by its own least and largest value; a constant one is 0.

    Args:
        maps: (..., H, W).

    Returns:
        The same shape.
    """
    least, most = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - least) / torch.where(most > least, most - least, 1)


def feature_maps(
    model: LocalModel, inputs: Tensor, *, count: int = 8, numbers: Sequence[int] = (), blocks: Sequence[int] = ()
) -> list[BlockMaps]:
    """Channels of every block to look at.

    Args:
        model: Of any network.
        inputs: The images shown, (N, C, H, W), as the network reads them.
        count: How many channels of each block, by `strongest_channels` over these images.
        numbers: These channels instead, of every block.
        blocks: Which blocks, counted from 1; all if none are given.

    Returns:
        A record for each of the blocks.

    Raises:
        InputError: There is no such block or channel, or a block hands on no maps.
    """
    there = len(model.partition)
    chosen = list(blocks) or list(range(1, there + 1))
    if problems := [f"There is no block {block}; there are {there}." for block in chosen if not 1 <= block <= there]:
        raise InputError(listed(problems))
    maps = dict(enumerate(block_maps(model, inputs), 1))
    problems = [
        f"Block {block} has channels 0 to {maps[block].shape[1] - 1}, and no channel {number}."
        for block in chosen
        for number in numbers
        if not 0 <= number < maps[block].shape[1]
    ]
    if problems:
        raise InputError(listed(problems))
    return [_shown(block, maps[block], tuple(numbers) or strongest_channels(maps[block], count)) for block in chosen]


def evenly_spaced(blocks: int, *, most: int) -> list[int]:
    """Few of many blocks: the first, the last, and others between.

    Args:
        blocks: How many there are.
        most: How many are wanted at most.

    Returns:
        Their numbers from 1, rising.
    """
    count = min(blocks, most)
    return [1 + round(index * (blocks - 1) / max(count - 1, 1)) for index in range(count)]


def _shown(block: int, maps: Tensor, channels: tuple[int, ...]) -> BlockMaps:
    _, depth, rows, columns = maps.shape
    return BlockMaps(block, (depth, rows, columns), channels, in_own_range(maps[:, list(channels)]))


def _as_map(features: Tensor, image_shape: Sequence[int], *, channels_last: bool) -> Tensor:
    match features.ndim:
        case 4:
            return features.movedim(-1, 1) if channels_last else features
        case 3:
            return TokenMap(features.shape[1:], image_shape)(features)
        case _:
            raise InputError("A vector is no map.")
