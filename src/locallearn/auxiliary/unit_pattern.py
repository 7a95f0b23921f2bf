"""A unit of the primary network as the pattern of a fresh layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import fx, nn


@dataclass(frozen=True)
class UnitPattern:
    """What a fresh layer is modelled on; nothing of it ends up in the layer.

    Args:
        name: The unit's name, for messages.
        in_shape: Shape of its input without the batch.
        out_shape: Shape of its output without the batch.
        modules: The network's modules that the unit applies one after another; none if it does anything else.
        copy: Makes a deep copy of the unit.
    """

    name: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    modules: tuple[nn.Module, ...]
    copy: Callable[[], nn.Module]

    @property
    def width(self) -> int:
        """Channels of the output, in ResNet bottlenecks a quarter of them: what the released code compares."""
        expansion = getattr(self.modules[0], "expansion", 1) if len(self.modules) == 1 else 1
        return self.out_shape[0] // (expansion if isinstance(expansion, int) else 1)

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for units that give equally built layers."""
        return self.in_shape, self.out_shape, str(self.modules), "" if self.modules else self.name


def chained_modules(
    network: nn.Module, nodes: Sequence[fx.Node], entry: fx.Node, result: fx.Node
) -> tuple[nn.Module, ...]:
    """The modules of a unit that applies them one after another.

    Args:
        network: The network that the modules belong to.
        nodes: The unit's nodes in order.
        entry: The node whose value enters the unit.
        result: The node whose value leaves it.

    Returns:
        The modules in order, the children of an `nn.Sequential` in its place; none if the unit does anything else.
    """
    found: list[nn.Module] = []
    before = entry
    for node in nodes:
        if node.op != "call_module" or node.args != (before,) or node.kwargs:
            return ()
        found += _flattened(network.get_submodule(str(node.target)))
        before = node
    return tuple(found) if before is result else ()


def _flattened(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return [leaf for child in module for leaf in _flattened(child)]
    return [module]
