"""The graph of a network in which repeated blocks stay whole."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from typing_extensions import override

from locallearn.errors import InputError


class _Tracer(fx.Tracer):
    """Keeps chosen modules whole, reads buffers when called, and notes in which module a trace failed."""

    proxy_buffer_attributes = True

    def __init__(self, whole: set[str]) -> None:
        super().__init__()
        self.whole = whole
        self.failed: str | None = None

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.whole or super().is_leaf_module(m, module_qualified_name)

    @override
    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise


def trace(network: nn.Module, whole: set[str]) -> fx.Graph:
    """Trace the network.

    Modules that cannot be traced, or whose forward differs between training and evaluation, are kept whole and added to
    `whole`: a trace fixes such choices once and for all.

    Args:
        network: Any module.
        whole: Names of modules to keep whole; grows.

    Returns:
        The graph, whose nodes name the network's own modules.

    Raises:
        InputError: The network's own forward cannot be traced, or takes another path in training.
    """
    while True:
        graph = _trace_in(network, whole, training=False)
        changing = _first_difference(graph, _trace_in(network, whole, training=True))
        if changing is None:
            return graph
        if changing == "" or changing in whole:
            raise InputError(
                f"The forward of {network._get_name()} takes another path in training than in evaluation, so its "
                "blocks cannot follow train() and eval(). Move that choice into a submodule, or give the modules by "
                "hand: partition(network, example, chain=[network.stem, ..., network.head])."
            )
        kind = type(network.get_submodule(changing))
        whole |= {name for name, module in network.named_modules() if type(module) is kind}


def _trace_in(network: nn.Module, whole: set[str], *, training: bool) -> fx.Graph:
    with keeping_modes(network):
        network.train(training)
        while True:
            tracer = _Tracer(whole)
            try:
                return tracer.trace(network, _defaults(network))
            except Exception as error:
                if tracer.failed is None or tracer.failed in whole:
                    raise InputError(_untraceable(network, error)) from error
                whole.add(tracer.failed)


def _defaults(network: nn.Module) -> dict[str, Any]:
    """Optional inputs keep their defaults: a trace would turn None into something that is not None."""
    _, *others = inspect.signature(network.forward).parameters.values()
    return {p.name: p.default for p in others if p.default is not p.empty}


def _first_difference(one: fx.Graph, other: fx.Graph) -> str | None:
    """Name of the module whose forward differs between two traces, `""` for the network itself, None if none does."""
    for left, right in zip(one.nodes, other.nodes, strict=False):
        if _text(left) != _text(right):
            return _owner(left)
    return None if len(one.nodes) == len(other.nodes) else ""


def _text(node: fx.Node) -> str:
    return re.sub(r"_tensor_constant\d+(_\d+)?", "constant", str(node.format_node()))


def _untraceable(network: nn.Module, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"The forward of {network._get_name()} cannot be traced by torch.fx ({type(error).__name__}: {reason}). "
        "Give its modules by hand, in the order in which they are applied: "
        "partition(network, example, chain=[network.stem, ..., network.head])."
    )


@contextmanager
def keeping_modes(network: nn.Module) -> Iterator[None]:
    """Restore every module's training flag afterwards.

    Args:
        network: Any module.

    Yields:
        None: While modes may change.
    """
    modes = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class Values(fx.Interpreter):
    """Runs a graph and notes of every node whether its value is a tensor that needs gradient, and its shape."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.needs_gradient: set[fx.Node] = set()

    @override
    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        tensors = [item for item in pytree.tree_leaves(value) if isinstance(item, Tensor)]
        if any(tensor.requires_grad for tensor in tensors):
            self.needs_gradient.add(n)
        return value


def run(network: nn.Module, graph: fx.Graph, example: Tensor) -> Values:
    """Run a traced network on an example as if all its parameters were trained.

    Args:
        network: The network the graph was traced from.
        graph: Its graph.
        example: One input batch.

    Returns:
        What was noted of each node's value.

    Raises:
        InputError: The network cannot be run on the example.
    """
    frozen = [p for p in network.parameters() if p.is_floating_point() and not p.requires_grad]
    values = Values(network, graph)
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            values.run(example)
    except Exception as error:
        required = " It takes more than one input, which blocks do not." if _inputs_without_value(network) > 1 else ""
        raise InputError(
            f"{network._get_name()} cannot be run on the example of shape {tuple(example.shape)} and type "
            f"{example.dtype}.{required} ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
        ) from error
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    return values


def _inputs_without_value(network: nn.Module) -> int:
    parameters = inspect.signature(network.forward).parameters.values()
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def repeated_blocks(network: nn.Module, graph: fx.Graph, values: Values) -> set[str]:
    """Names of the modules to keep whole because they are, or stand in line with, blocks that join activations.

    A class whose own forward joins two activations is a block. Its outermost instances stay whole, and so do modules
    whose names differ from an instance's only in digits, unless they contain blocks themselves.

    Args:
        network: The network the graph was traced from.
        graph: Its fine graph.
        values: What `run` noted.

    Returns:
        Names of modules.
    """
    depends = {node for node in graph.nodes if node.op == "placeholder"}
    classes: set[type[nn.Module]] = set()
    for node in graph.nodes:
        inputs = [item for item in node.all_input_nodes if item in depends and item in values.needs_gradient]
        if node not in depends and node in values.shapes and any(item in depends for item in node.all_input_nodes):
            depends.add(node)
        if node.op in ("call_function", "call_method") and len(inputs) > 1:
            owner = _owner(node)
            if owner and next(network.get_submodule(owner).parameters(), None) is not None:
                classes.add(type(network.get_submodule(owner)))
    instances = _outermost({name for name, module in network.named_modules() if name and type(module) in classes})
    patterns = {_without_digits(name) for name in instances}
    alike = {
        name
        for name, module in network.named_modules()
        if _without_digits(name) in patterns and not any(type(inner) in classes for inner in module.modules())
    }
    return instances | _outermost(alike)


def _owner(node: fx.Node) -> str:
    """Name of the module in whose forward a node was recorded; a called module stands on the stack itself."""
    names = [name for name, _ in (node.meta.get("nn_module_stack") or {}).values()]
    if node.op == "call_module":
        names = names[:-1]
    return names[-1] if names else ""


def owner(node: fx.Node) -> str:
    """Name of the module in whose forward a node stands.

    Args:
        node: A node of a traced graph.

    Returns:
        The called module's own name for a call of a module, `""` for the network itself.
    """
    return str(node.target) if node.op == "call_module" else _owner(node)


def _outermost(names: set[str]) -> set[str]:
    return {name for name in names if not any(name.startswith(other + ".") for other in names)}


def _without_digits(name: str) -> str:
    return re.sub(r"\d+", "#", name)
