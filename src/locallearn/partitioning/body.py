"""Networks whose body hands several of its features to what follows: segmentation networks and detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from typing_extensions import override


@dataclass(frozen=True)
class Body:
    """The part of a network that is cut into units; what follows it is the head.

    Args:
        name: Of the submodule.
        side_outputs: Names, in the network, of the modules whose outputs the head reads beside the body's last.
        alone: Whether only the body is traced, because what stands around it takes more than a batch of images.
    """

    name: str
    side_outputs: tuple[str, ...]
    alone: bool


def find_body(network: nn.Module) -> Body | None:
    """The body of a network of torchvision's segmentation and detection kinds.

    Args:
        network: Any network.

    Returns:
        The submodule that gathers features of several layers; None if there is none.
    """
    for name, module in network.named_modules():
        layers = getattr(module, "return_layers", None)
        if name and isinstance(layers, dict) and isinstance(module, nn.ModuleDict):
            sides = tuple(f"{name}.{layer}" for layer in [layer for layer in module if layer in layers][:-1])
            prepares = type(getattr(network, "transform", None)).__name__ == "GeneralizedRCNNTransform"
            return Body(name, sides, alone=prepares)
    return None


class Shell(nn.Module):
    """A submodule by itself, under the names that it has in its network.

    Args:
        network: The network.
        name: Of the submodule.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        holder: nn.Module = self
        *parents, last = name.split(".")
        for parent in parents:
            holder.add_module(parent, nn.Module())
            holder = cast(nn.Module, getattr(holder, parent))
        holder.add_module(last, network.get_submodule(name))
        self._name = name
        self.training = network.training

    @override
    def forward(self, inputs: Tensor) -> object:
        return self.get_submodule(self._name)(inputs)
