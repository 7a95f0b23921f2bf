"""What `torch.compile` keeps for the backward pass under a memory budget, read from its graphs; nothing is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch import config as compiler_config
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class GraphCost:
    """Cost of one step of a compiled network.

    Args:
        bytes_saved: Storages that pass from the forward to the backward graph, without parameters.
        flops: Floating-point operations of matrix products and convolutions in both graphs.
    """

    bytes_saved: int
    flops: int


class _GraphsFound(Exception):
    """Both graphs are known, so that there is nothing more to compile."""


def graph_cost(network: nn.Module, inputs: Tensor, memory_budget: float) -> GraphCost:
    """Cut a network's graph in two as the default compiler does, and count.

    Args:
        network: Its parameters are real tensors.
        inputs: One batch.
        memory_budget: Share of the activations that may be kept.

    Returns:
        The cost, of the first of several graphs if the network breaks into some.

    Raises:
        RuntimeError: The compiler found no graph.
    """
    from torch._inductor.decomposition import select_decomp_table

    found: list[GraphCost] = []

    def divide(joint: fx.GraphModule, given: Any, *, num_fwd_outputs: int, **options: Any) -> Any:
        forward, backward = min_cut_rematerialization_partition(
            joint, given, compiler="inductor", num_fwd_outputs=num_fwd_outputs, **options
        )
        saved = _bytes_passed_on(forward, num_fwd_outputs, inputs)
        found.append(GraphCost(saved, _flops(forward) + _flops(backward)))
        raise _GraphsFound

    backend = aot_autograd(
        fw_compiler=lambda graph, _: graph, partition_fn=divide, decompositions=select_decomp_table()
    )
    with compiler_config.patch(activation_memory_budget=memory_budget):
        try:
            torch.compile(network.forward, backend=backend)(inputs)
        except Exception:
            if not found:
                raise
    torch._dynamo.reset()
    if not found:
        raise RuntimeError("torch.compile made no graph of the network.")
    return found[0]


def _bytes_passed_on(forward: fx.GraphModule, num_outputs: int, inputs: Tensor) -> int:
    (output,) = forward.graph.find_nodes(op="output")
    saved = [node for node in output.args[0][num_outputs:] if isinstance(node.meta.get("val"), Tensor)]
    sizes = {}
    for node in saved:
        value = node.meta["val"]
        if node.op != "placeholder" or value.shape == inputs.shape:
            storage = value.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def _flops(module: fx.GraphModule) -> int:
    total = 0
    for node in module.graph.nodes:
        count = flop_registry.get(getattr(node.target, "overloadpacket", None))
        if node.op == "call_function" and count is not None:
            args, kwargs = tree_map(
                lambda item: item.meta["val"] if isinstance(item, fx.Node) else item, (node.args, node.kwargs)
            )
            total += count(*args, **kwargs, out_val=node.meta["val"])
    return total
