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
            return Body(name, sides, alone=_prepares_images(network))
    return None


def _prepares_images(network: nn.Module) -> bool:
    """Whether a network resizes and batches lists of images itself, as torchvision's detectors do."""
    transform = getattr(network, "transform", None)
    if not isinstance(transform, nn.Module):
        return False
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    return isinstance(transform, GeneralizedRCNNTransform)


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
        self._name, self._title = name, f"The {name} of {type(network).__name__}"
        self.training = network.training

    @override
    def _get_name(self) -> str:
        return self._title

    @override
    def forward(self, inputs: Tensor) -> object:
        return self.get_submodule(self._name)(inputs)
