"""Weights of an exported classification network for the backbone of another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import nn

SUFFIX = ".safetensors"
_CLASSIFIER = "fc."
_COUNTER = "num_batches_tracked"
"""What frozen BatchNorms lack."""


def load_backbone(network: nn.Module, path: Path | str) -> None:
    """Read all weights of a classification network but its classifier's.

    Args:
        network: A ResNet of torchvision or named like one, changed in place, only if everything fits.
        path: A safetensors file of the same network, as `locallearn export` writes it, with any number of classes.

    Raises:
        InputError: The file is missing or no safetensors file, or its tensors are not the network's.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if not name.startswith(_CLASSIFIER)]  # noqa: SIM118
            given = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file ({error}).") from None
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(_CLASSIFIER)}
    given = {name: value for name, value in given.items() if name in own or not name.endswith(_COUNTER)}
    different = [
        f"{name} ({_shape(given.get(name))} instead of {_shape(own.get(name))})"
        for name in dict.fromkeys([*own, *given])
        if _shape(given.get(name)) != _shape(own.get(name))
    ]
    if different:
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise InputError(
            f"{path} holds another network than the backbone: {', '.join(different[:5])}{more}. Export a run of the "
            "same torchvision network."
        )
    with torch.no_grad():
        network.load_state_dict(given, strict=False)


def _shape(tensor: object) -> str:
    return "nothing" if tensor is None else str(tuple(getattr(tensor, "shape", ())))
