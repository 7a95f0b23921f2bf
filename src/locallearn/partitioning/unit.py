"""Where a traced network may be cut: its units and its head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx, nn

from locallearn.errors import InputError
from locallearn.partitioning.body import Body
from locallearn.partitioning.tracing import Values, keeping_modes, owner, repeated_blocks, run, trace

_WEIGHT_FUNCTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear")
_NORM_MODULES = ("torch.nn.modules.batchnorm", "torch.nn.modules.normalization", "torch.nn.modules.instancenorm")


@dataclass(frozen=True)
class Unit:
    """The finest piece of a network worth cutting at.

    Args:
        index: Its place, counted from 0.
        name: The module it starts with.
        stage: Counted from 0; a new stage begins with another parent module or another resolution.
        in_shape: Shape of its input without the batch.
        out_shape: Shape of its output without the batch.
    """

    index: int
    name: str
    stage: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]


@dataclass(frozen=True)
class TracedUnits:
    """A traced network with the places of its units.

    Args:
        nodes: Nodes in the order of execution.
        bounds: `bounds[i]` is the index of the first node of unit i; the last entry that of the head.
        carriers: `carriers[i]` is the node whose value enters unit i (the head for the last).
        units: The units.
        whole: Modules kept whole because they could not be traced.
    """

    nodes: tuple[fx.Node, ...]
    bounds: tuple[int, ...]
    carriers: tuple[fx.Node, ...]
    units: tuple[Unit, ...]
    whole: tuple[str, ...]

    def with_head_from(self, unit: int) -> TracedUnits:
        """The same graph with later units counted to the head.

        Args:
            unit: The first one that is the head's; the number of units changes nothing.

        Returns:
            Units and places.
        """
        stop = unit + 1
        return replace(self, bounds=self.bounds[:stop], carriers=self.carriers[:stop], units=self.units[:unit])


def find_units(
    network: nn.Module, example: Tensor, body: Body | None = None, side_outputs: Collection[str] = ()
) -> TracedUnits:
    """Trace a network and find its units.

    A unit starts at a repeated block, and elsewhere at a convolution or linear layer. Normalisation, activation and
    reshaping join the unit before; pooling joins the unit after only if a plain weight layer follows. Cuts lie only
    where exactly one tensor that needs gradient is alive, side outputs apart. What follows the last unit is the head.

    Args:
        network: Any module that torch.fx can trace; modules inside that it cannot trace stay whole.
        example: One input batch.
        body: The submodule that all units belong to, if it is not the network.
        side_outputs: Names of modules whose outputs may be handed on beside the activation, apart from the body's.

    Returns:
        Graph and places.

    Raises:
        InputError: The network cannot be traced or has no legal place to cut.
    """
    whole: set[str] = set()
    with keeping_modes(network):
        network.eval()
        fine = trace(network, whole)
        untraceable = tuple(sorted(whole))
        blocks = repeated_blocks(network, fine, run(network, fine, example)) | whole
        graph = trace(network, set(blocks))
        values = run(network, graph, example)
    sides = _outputs_of(graph, [*side_outputs, *(body.side_outputs if body else ())])
    end = _end_of(graph, body.name) if body else None
    return _cut(network, graph, values, blocks, untraceable, sides, end)


def chained_units(network: nn.Module, example: Tensor, chain: list[nn.Module]) -> TracedUnits:
    """Units given by hand: one for each module, the last being the head.

    Args:
        network: The network that the modules belong to.
        example: One input batch.
        chain: Submodules in the order in which they are applied.

    Returns:
        Graph and places, as `find_units` gives them.

    Raises:
        InputError: A module is not part of the network, or the chain is too short.
    """
    names = {id(module): name for name, module in network.named_modules()}
    strangers = [f"{index} ({type(module).__name__})" for index, module in enumerate(chain) if id(module) not in names]
    if strangers or len(chain) < 2:
        raise InputError(
            f"chain= takes at least two submodules of {network._get_name()}, the last being its head; "
            f"{'not part of the network: entries ' + ', '.join(strangers) if strangers else f'{len(chain)} given'}."
        )
    graph = fx.Graph()
    nodes = [graph.placeholder("inputs")]
    for module in chain:
        nodes.append(graph.call_module(names[id(module)], (nodes[-1],)))
    nodes.append(graph.output(nodes[-1]))
    with keeping_modes(network):
        network.eval()
        values = run(network, graph, example)
    bounds = [0, *range(2, len(chain) + 1)]
    nodes = list(graph.nodes)
    carriers = [nodes[max(bound - 1, 0)] for bound in bounds]
    return _units(graph, values, bounds, carriers, range(1, len(chain)), ())


def _outputs_of(graph: fx.Graph, names: Collection[str]) -> set[fx.Node]:
    """The nodes whose values are the outputs of modules, called as a whole or traced through."""
    found = set()
    for name in names:
        inside = [node for node in graph.nodes if _is_inside(node, name)]
        found |= {node for node in inside if any(user not in inside for user in node.users)}
    return found


def _end_of(graph: fx.Graph, name: str) -> int:
    """Index of the first node after those of a module."""
    return max(index for index, node in enumerate(graph.nodes) if _is_inside(node, name)) + 1


def _is_inside(node: fx.Node, name: str) -> bool:
    return f"{owner(node)}.".startswith(f"{name}.")


def _cut(
    network: nn.Module,
    graph: fx.Graph,
    values: Values,
    blocks: set[str],
    untraceable: tuple[str, ...],
    sides: set[fx.Node],
    end: int | None,
) -> TracedUnits:
    nodes = tuple(graph.nodes)
    starts = [index for index, node in enumerate(nodes) if _starts_unit(network, node)]
    legal = _legal_places(nodes, values, sides)
    head = _head_start(network, nodes, values, starts) if end is None else end
    bounds = [0]
    for start in (index for index in starts[1:] if index < head):
        place = start if _is_block(nodes[start], blocks) else _before_pools(network, nodes, start)
        place = place if place in legal else start
        if place in legal and place > bounds[-1]:
            bounds.append(place)
    while head > 0 and head not in legal:
        head -= 1
    bounds = [bound for bound in bounds if bound < head]
    if not bounds or not starts:
        raise InputError(
            f"{network._get_name()} has no place to cut: nowhere is exactly one tensor that needs gradient alive. "
            "Check that it is a chain of layers, or give its modules by hand: partition(network, example, chain=[...])."
        )
    entry = next(node for node in nodes if node.op == "placeholder")
    carriers = [entry if place == 0 else legal[place] for place in (*bounds, head)]
    return _units(graph, values, [*bounds, head], carriers, starts, untraceable)


def _units(
    graph: fx.Graph,
    values: Values,
    bounds: list[int],
    carriers: Sequence[fx.Node],
    starts: Sequence[int],
    untraceable: tuple[str, ...],
) -> TracedUnits:
    nodes = tuple(graph.nodes)
    shapes = [values.shapes[carrier][1:] for carrier in carriers]
    units: list[Unit] = []
    for index in range(len(bounds) - 1):
        name = owner(nodes[next(start for start in starts if start >= bounds[index])])
        stage = 0
        if units:
            before = units[-1]
            same_parent = _parent(name) == _parent(before.name)
            same_resolution = shapes[index + 1][1:] == before.out_shape[1:]
            stage = before.stage + (not (same_parent and same_resolution))
        units.append(Unit(index, name, stage, shapes[index], shapes[index + 1]))
    return TracedUnits(nodes, tuple(bounds), tuple(carriers), tuple(units), untraceable)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def alive_at(nodes: tuple[fx.Node, ...], place: int) -> list[fx.Node]:
    """Nodes before a place whose values depend on the input and are used from there on.

    Args:
        nodes: All nodes in order.
        place: Index of the first node after the cut.

    Returns:
        The nodes in order.
    """
    fed = fed_by_input(nodes)
    later = {operand for node in nodes[place:] for operand in node.all_input_nodes}
    return [node for node in nodes[:place] if node in later and node in fed]


def fed_by_input(nodes: tuple[fx.Node, ...]) -> set[fx.Node]:
    """Nodes whose values depend on the network's input; all others are parameters and what is computed from them.

    Args:
        nodes: All nodes in order.

    Returns:
        The nodes.
    """
    fed: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or any(operand in fed for operand in node.all_input_nodes):
            fed.add(node)
    return fed


def _legal_places(nodes: tuple[fx.Node, ...], values: Values, sides: set[fx.Node]) -> dict[int, fx.Node]:
    """The places where one tensor that needs gradient is alive beside side outputs, each with that tensor's node."""
    fed = fed_by_input(nodes)
    last_use = {operand: index for index, node in enumerate(nodes) for operand in node.all_input_nodes}
    legal: dict[int, fx.Node] = {}
    alive: list[fx.Node] = []
    for place, node in enumerate(nodes):
        alive = [item for item in alive if last_use[item] >= place]
        needing = [item for item in alive if item in values.needs_gradient]
        # Where all are side outputs, the next layer goes on from one of them.
        activations = [item for item in needing if item not in sides]
        activations = activations or [item for item in needing if item in node.all_input_nodes]
        if len(activations) == 1 and activations[0] in values.shapes:
            legal[place] = activations[0]
        if node in last_use and node in fed:
            alive.append(node)
    return legal


def _is_block(node: fx.Node, blocks: set[str]) -> bool:
    return node.op == "call_module" and str(node.target) in blocks


def _starts_unit(network: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        if type(module).__module__ in _NORM_MODULES:
            return False
        return any(p.ndim > 1 for p in module.parameters())
    return node.op == "call_function" and getattr(node.target, "__name__", "") in _WEIGHT_FUNCTIONS


def _is_pool(network: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        return "pool" in type(module).__name__.lower() and next(module.parameters(), None) is None
    return node.op == "call_function" and "pool" in getattr(node.target, "__name__", "")


def _before_pools(network: nn.Module, nodes: tuple[fx.Node, ...], start: int) -> int:
    """The place before the pools that lead up to a plain weight layer, or that layer itself."""
    place = start
    for index in range(start - 1, -1, -1):
        if _is_pool(network, nodes[index]):
            place = index
        elif not _is_glue(network, nodes[index]):
            break
    return place


def _is_glue(network: nn.Module, node: fx.Node) -> bool:
    """Whether a node only reshapes or drops: it may stand between a pool and the layer the pool belongs to."""
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), (nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity))
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")
    return name in ("flatten", "view", "reshape", "size", "getitem", "getattr", "dropout")


def _head_start(network: nn.Module, nodes: tuple[fx.Node, ...], values: Values, starts: list[int]) -> int:
    """Index of the first node of pool and classifier."""
    flat = len(nodes)
    for index in range(len(nodes) - 1, -1, -1):
        shape = values.shapes.get(nodes[index])
        if shape is not None and nodes[index].op != "get_attr":
            if len(shape) > 2:
                break
            flat = index
    inside = [index for index in starts if index >= flat]
    body = [index for index in starts if index < flat]
    if not body or not inside:
        return _before_pools(network, nodes, starts[-1]) if starts else 0
    place = _before_pools(network, nodes, flat)
    for index in range(body[-1] + 1, flat):
        shape = values.shapes.get(nodes[index], ())
        if _is_pool(network, nodes[index]) and len(shape) > 2 and all(side == 1 for side in shape[2:]):
            return min(place, index)
    return place
