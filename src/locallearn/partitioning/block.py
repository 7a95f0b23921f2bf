"""A piece of a network that can be called by itself and holds no tensors of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any

from torch import Tensor, fx, nn
from typing_extensions import override

from locallearn.partitioning.unit import TracedUnits, alive_at, fed_by_input

State = Tensor | tuple[Any, ...]
"""What passes from block to block: the activation, or `(activation, *carried)` where sizes or masks are handed on."""


class Block(nn.Module):
    """Consecutive units of a network, with the head if they reach its end.

    The block reads the network's modules, parameters and buffers at every call and registers none of them, so that
    replacing a module of the network, its hooks, `train()` and `eval()` act as always.

    Args:
        network: The network that owns everything.
        traced: Its graph with the places of its units.
        start: Index of the first unit.
        stop: One past the index of the last; one more than the number of units includes the head.
    """

    def __init__(self, network: nn.Module, traced: TracedUnits, start: int, stop: int) -> None:
        super().__init__()
        bounds = (*traced.bounds, len(traced.nodes))
        inside = traced.nodes[bounds[start] : bounds[stop]]
        graph = subgraph(traced, start, stop)
        self._network = (network,)
        self._function = type(fx.GraphModule(network, graph)).forward
        self.modules_called = tuple(dict.fromkeys(str(node.target) for node in inside if node.op == "call_module"))
        self._attributes = tuple(dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "get_attr"))
        self.copies_input = False

    def forward(self, state: State, *, call: Callable[..., Any] | None = None) -> State:
        """Apply the units.

        Args:
            state: What the block before returned; the network's input for the first.
            call: What calls the network's modules that hold others, `call(module, *args)`; they are called directly if
                None.

        Returns:
            The state for the next block; the network's output after the head.
        """
        first, *carried = state if isinstance(state, tuple) else (state,)
        network = self._network[0] if call is None else _Calling(self._network[0], call)
        return self._function(network, first.clone() if self.copies_input else first, *carried)

    def calls_containers(self) -> bool:
        """Whether one of the modules that the block calls holds others.

        Returns:
            True if so.
        """
        return any(map(_holds_others, map(self._network[0].get_submodule, self.modules_called)))

    def parameter_names(self) -> list[str]:
        """Names, in the network, of the parameters the block uses now.

        Returns:
            Each name once, also where the network knows a parameter by several.
        """
        used = {id(parameter) for parameter in self.parameters_used()}
        return [name for name, parameter in self._network[0].named_parameters() if id(parameter) in used]

    def parameters_used(self) -> list[nn.Parameter]:
        """The network's parameters that the block uses now.

        Returns:
            Each parameter once.
        """
        network = self._network[0]
        found = [p for path in self.modules_called for p in network.get_submodule(path).parameters()]
        found += [value for value in self.attributes_read() if isinstance(value, nn.Parameter)]
        return list(dict.fromkeys(found))

    def attributes_read(self) -> list[Any]:
        """What the block reads of the network beside calling its modules: parameters, buffers and constants.

        Returns:
            The values as they are now.
        """
        places = [name.rpartition(".") for name in self._attributes]
        return [getattr(self._network[0].get_submodule(owner), attribute) for owner, _, attribute in places]

    @override
    def extra_repr(self) -> str:
        return ", ".join(self.modules_called)


class _Calling:
    """The network as a block's function reads it, whose modules that hold others are called by a given function."""

    def __init__(self, module: nn.Module, call: Callable[..., Any]) -> None:
        self._module = module
        self._call = call

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        return _Calling(value, self._call) if isinstance(value, nn.Module) and _holds_others(value) else value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._module, *args, **kwargs)


def _holds_others(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def activation(state: State) -> Tensor:
    """The tensor of a state that learns.

    Args:
        state: What a block returned.

    Returns:
        The activation.
    """
    return state[0] if isinstance(state, tuple) else state


def with_activation(state: State, replacement: Tensor) -> State:
    """The state with another activation and everything else detached.

    Args:
        state: What a block returned.
        replacement: Takes the place of the activation.

    Returns:
        A state of the same form.
    """
    if not isinstance(state, tuple):
        return replacement
    return (replacement, *(item.detach() if isinstance(item, Tensor) else item for item in state[1:]))


def starts_in_place(network: nn.Module, called: Iterable[str]) -> bool:
    """Whether a module before the first layer with parameters writes into its input, perhaps only in training.

    Args:
        network: Owns the modules.
        called: Their names in the order of their calls.

    Returns:
        True if one says so by `inplace`.
    """
    modules = (module for path in called for module in network.get_submodule(path).modules())
    leaves = (module for module in modules if next(module.children(), None) is None)
    leading = takewhile(lambda module: next(module.parameters(), None) is None, leaves)
    return any(getattr(module, "inplace", False) for module in leading)


def subgraph(traced: TracedUnits, start: int, stop: int) -> fx.Graph:
    """The graph of consecutive units, from the state they are given to the state they hand on.

    Args:
        traced: The network's graph with the places of its units.
        start: Index of the first unit.
        stop: One past the index of the last; one more than the number of units includes the head.

    Returns:
        A graph whose nodes name the network's own modules; its first input and its first output are activations.
    """
    bounds = (*traced.bounds, len(traced.nodes))
    first, last = bounds[start], bounds[stop]
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    fed = fed_by_input(traced.nodes)

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copies:
            if node in fed:
                raise AssertionError(f"{node} is used before it is computed")
            copies[node] = graph.node_copy(node, copy_of)
        return copies[node]

    if start > 0:
        for node in _handed_on(traced, first, start):
            copies[node] = graph.placeholder(node.name)
    for node in traced.nodes[first:last]:
        copies[node] = graph.node_copy(node, copy_of)
    if stop <= len(traced.units):
        results = [copy_of(node) for node in _handed_on(traced, last, stop)]
        graph.output(results[0] if len(results) == 1 else tuple(results))
    graph.lint()
    return graph


def _handed_on(traced: TracedUnits, place: int, unit: int) -> list[fx.Node]:
    """The nodes whose values cross a cut, the activation first."""
    carrier = traced.carriers[unit]
    return [carrier, *(node for node in alive_at(traced.nodes, place) if node is not carrier)]
