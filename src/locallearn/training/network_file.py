"""The trained network as an ordinary safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from locallearn import atomic_file
from locallearn.errors import InputError


def save_network(network: nn.Module, path: Path, *, classes: Sequence[str], title: str) -> None:
    """Write a network's own state dictionary, whole or not at all.

    Args:
        network: Saved under its own keys; tensors that share memory are written apart.
        path: The file.
        classes: Class names in the order of the outputs; JSON under `classes` in the metadata.
        title: The recipe's title; `title` in the metadata.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    metadata = {"format": "pt", "title": title, "classes": json.dumps(list(classes))}
    atomic_file.write(path, _same_bytes(save(tensors, metadata)))


def stored_classes(path: Path) -> tuple[str, ...]:
    """The class names in a file of `save_network`.

    Args:
        path: The file.

    Returns:
        The names in the order of the outputs; none if the file holds none.

    Raises:
        InputError: The file is missing or no safetensors file.
    """
    return _read(path)[1]


def load_network(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Read a file of `save_network` into a network of the same keys and shapes.

    Args:
        network: Changed in place, only if everything fits.
        path: The file.

    Returns:
        The class names; none if the file holds none.

    Raises:
        InputError: The file is missing or no safetensors file, or its tensors are not the network's.
    """
    tensors, classes = _read(path)
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if own != given:
        raise InputError(f"{path} holds another network: {_first_differences(own, given)}.")
    with torch.no_grad():
        network.load_state_dict(dict(tensors))
    return classes


def refuse_not_finite(network: nn.Module, name: str) -> None:
    """Refuse a network that holds NaN or infinity.

    Args:
        network: To be looked into.
        name: What to call it, as the beginning of a sentence.

    Raises:
        InputError: It does.
    """
    wrong = [key for key, values in network.state_dict().items() if not values.isfinite().all()]
    if wrong:
        raise InputError(f"{name} holds NaN or infinity, in {wrong[0]} first: leave it out.")


def _read(path: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file ({error}).") from None
    return tensors, tuple(json.loads(metadata.get("classes", "[]")))


def _same_bytes(content: bytes) -> bytes:
    # Metadata in sorted order: safetensors writes it in an order of its own each time.
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + text.ljust(size) + content[8 + size :]


def _first_differences(own: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    different = [name for name in [*own, *(given.keys() - own.keys())] if own.get(name) != given.get(name)]
    told = [f"{name} is {given.get(name, 'missing')}, not {own.get(name, 'there')}" for name in different[:5]]
    return "; ".join(told) + (f"; {len(different) - 5} more" if len(different) > 5 else "")
