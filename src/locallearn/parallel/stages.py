"""Which blocks each process has, and which tensors go with them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from locallearn.errors import InputError
from locallearn.simulation.placement import placed

if TYPE_CHECKING:
    from locallearn.abstract_method import Window
    from locallearn.local_model import LocalModel
    from locallearn.objective import LocalObjective
    from locallearn.partitioning.block import Block


def divided(
    windows: Sequence[Window],
    times: Sequence[float],
    stages: int,
    *,
    cross: bool,
    speeds: Sequence[float] | None = None,
) -> tuple[range, ...]:
    """Divide blocks among stages so that the slowest is as fast as possible.

    Args:
        windows: The method's.
        times: Of each block with its objectives, in any unit.
        stages: How many there are.
        cross: Whether a window may have blocks of several stages.
        speeds: How fast each stage's device is; all alike if None.

    Returns:
        The blocks of each stage.

    Raises:
        InputError: There are fewer places to divide at than stages need.
    """
    borders = [0, *legal_borders(windows, len(times), cross=cross), len(times)]
    pieces = [range(start, stop) for start, stop in pairwise(borders)]
    if len(pieces) < stages:
        least = "" if len(pieces) == 1 else f" into more than {len(pieces)} groups"
        why = "there are no more blocks" if cross else "at other borders a window trains blocks of both sides together"
        remedy = "" if cross else ", or let gradients cross the borders (--distributed.crossing send_back)"
        raise InputError(
            f"{len(times)} blocks cannot be divided{least}, and {stages} processes are to share them: {why}. Cut the "
            f"network into more blocks, divide the batches (--parallel data={stages}){remedy}."
        )
    runs = placed([sum(times[block] for block in piece) for piece in pieces], stages, speeds)
    return tuple(range(pieces[run[0]].start, pieces[run[-1]].stop) for run in runs)


def divided_at(borders: Sequence[int], windows: Sequence[Window], blocks: int, *, cross: bool) -> tuple[range, ...]:
    """Divide blocks where somebody says.

    Args:
        borders: The block behind each border, in order.
        windows: The method's.
        blocks: How many there are.
        cross: Whether a window may have blocks of several stages.

    Returns:
        The blocks of each stage.

    Raises:
        InputError: A border is not between blocks or stands in a window, or they are not in order.
    """
    legal = legal_borders(windows, blocks, cross=cross)
    if [*borders] != sorted({*borders} & {*legal}):
        raise InputError(f"Blocks cannot be divided at {[*borders]}: borders must be in order and out of {legal}.")
    return tuple(range(start, stop) for start, stop in pairwise([0, *borders, blocks]))


def legal_borders(windows: Sequence[Window], blocks: int, *, cross: bool) -> list[int]:
    """Where the chain of blocks may be divided.

    Args:
        windows: The method's.
        blocks: How many there are.
        cross: Whether a window may lie on both sides.

    Returns:
        Each the index of the block behind the border.
    """
    inner = range(1, blocks)
    return [b for b in inner if cross or not any(window.start < b < window.stop for window in windows)]


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a network.

    Args:
        network: Any network.

    Returns:
        Tensors by every name they have.
    """
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


def owned_names(model: LocalModel, blocks: range) -> set[str]:
    """The network's tensors that some blocks use.

    Args:
        model: Owns the network.
        blocks: Which; the last block owns what no block uses.

    Returns:
        Names of parameters and buffers, every name of each.
    """
    everything = named_tensors(model.network)
    used = {name for block in model.partition.blocks for name in _used_names(model.network, block)}
    own = {name for index in blocks for name in _used_names(model.network, model.partition.blocks[index])}
    return own | (everything.keys() - used if blocks.stop == len(model.partition.blocks) else set())


def followed_names(model: LocalModel, blocks: range) -> set[str]:
    """What copies follow whose windows end in some blocks.

    Args:
        model: Owns windows and objectives.
        blocks: Which.

    Returns:
        Names of the network's tensors.
    """
    ends = [i for i, window in enumerate(model.windows) if blocks.start < window.stop <= blocks.stop]
    return {follow.source for i in ends for follow in cast("LocalObjective", model.objectives[i]).follows()}


def check_untied(model: LocalModel, stages: Sequence[range]) -> None:
    """Refuse tensors that blocks of several processes share.

    Args:
        model: Owns the network.
        stages: The blocks of each process.

    Raises:
        InputError: A tensor is shared.
    """
    named = named_tensors(model.network)
    owners: dict[int, int] = {}
    for stage, blocks in enumerate(stages):
        for name in sorted(owned_names(model, blocks)):
            if owners.setdefault(id(named[name]), stage) != stage:
                raise InputError(
                    f"{name!r} is used by blocks of two processes, whose copies would drift apart: cut the network so "
                    "that one block has all uses of it, or divide the batch alone (--parallel data=N)."
                )


def check_independent(model: LocalModel, stages: Sequence[range]) -> None:
    """Refuse to let processes out of step whose blocks need each other's present state.

    Args:
        model: Owns windows and objectives.
        stages: The blocks of each process.

    Raises:
        InputError: A window's blocks, or what its copies follow, are in another process.
    """
    legal = legal_borders(model.windows, len(model.partition.blocks), cross=False)
    crossing = [blocks for blocks in stages[1:] if blocks.start not in legal]
    if crossing or any(followed_names(model, blocks) - owned_names(model, blocks) for blocks in stages):
        raise InputError(
            f"With replay, processes go out of step, and {model.method} lets blocks of one learn from blocks of "
            "another: use a method whose blocks learn alone (dgl, predsim, infopro), or no replay."
        )


def release(model: LocalModel, names: set[str], windows: Sequence[int]) -> None:
    """Give back the memory of everything that other processes train; what remains there knows only its shape.

    Args:
        model: Changed in place; its optimizer must be made afterwards.
        names: The network's tensors that stay.
        windows: Whose objectives stay.
    """
    for path, module in model.network.named_modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None and f"{path}.{name}".removeprefix(".") not in names:
                    table[name] = _shape_alone(tensor)  # pyright: ignore[reportArgumentType]
    for index, objective in enumerate(model.objectives):
        if index not in windows:
            objective.to("meta")


def _used_names(network: nn.Module, block: Block) -> set[str]:
    used = {id(parameter) for parameter in block.parameters_used()}
    modules = (module for path in block.modules_called for module in network.get_submodule(path).modules())
    used |= {id(buffer) for module in modules for buffer in module._buffers.values() if buffer is not None}
    used |= {id(value) for value in block.attributes_read()}
    return {name for name, tensor in named_tensors(network).items() if id(tensor) in used}


def _shape_alone(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
