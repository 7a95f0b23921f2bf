"""A unit of a network as a module of its own."""

from __future__ import annotations

import torch
from torch import fx, nn

from locallearn.auxiliary.own_copy import own_copy
from locallearn.errors import InputError
from locallearn.partitioning.block import starts_in_place, subgraph
from locallearn.partitioning.tracing import keeping_modes
from locallearn.partitioning.unit import TracedUnits


def unit_copy(network: nn.Module, traced: TracedUnits, index: int, count: int) -> nn.Module:
    """A deep copy of consecutive units, from activation to activation.

    Args:
        network: The network that the unit belongs to.
        traced: Its graph with the places of its units.
        index: The first unit, counted from 0.
        count: How many units.

    Returns:
        A module whose parameters and buffers carry the names they have in the network; hooks are left behind. It never
        writes into its input.

    Raises:
        InputError: The first unit reads more than the activation, such as sizes or masks handed on from before.
    """
    graph = _activation_to_activation(network, traced, index, count)
    copy = own_copy(fx.GraphModule(network, graph))
    called = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    if starts_in_place(copy, called) or _writes_into_its_input(copy, traced.units[index].in_shape):
        _clone_first(copy)
    return copy


def _activation_to_activation(network: nn.Module, traced: TracedUnits, index: int, count: int) -> fx.Graph:
    graph = subgraph(traced, index, index + count)
    _, *handed_on = (node for node in graph.nodes if node.op == "placeholder")
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    result = output.args[0]
    output.args = (result[0] if isinstance(result, tuple) else result,)
    if still_read := [node.name for node in handed_on if node.users]:
        raise InputError(
            f"Unit {index} of {type(network).__name__} ({traced.units[index].name}) cannot be copied: it reads "
            f"{', '.join(still_read)} beside the activation. Use a method that copies no unit, such as DGL, or compute "
            "these inside the unit."
        )
    for node in handed_on:
        graph.erase_node(node)
    return graph


def _clone_first(copy: fx.GraphModule) -> None:
    entry = next(node for node in copy.graph.nodes if node.op == "placeholder")
    with copy.graph.inserting_after(entry):
        own = copy.graph.call_method("clone", (entry,))
    entry.replace_all_uses_with(own, delete_user_cb=lambda user: user is not own)
    copy.recompile()


def _writes_into_its_input(copy: nn.Module, in_shape: tuple[int, ...]) -> bool:
    like = next(copy.parameters(), torch.empty(0))
    example = torch.zeros(2, *in_shape, dtype=like.dtype, device=like.device)
    before = example._version
    with keeping_modes(copy), torch.no_grad():
        copy.eval()(example)
    return example._version != before
