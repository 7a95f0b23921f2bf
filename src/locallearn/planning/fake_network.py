"""A network without numbers: shapes, types and devices, and no memory."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode

from locallearn.errors import InputError


def fake_network(
    network: nn.Module | Callable[[], nn.Module],
    mode: FakeTensorMode,
    *,
    device: torch.device,
    layout: torch.memory_format = torch.contiguous_format,
) -> nn.Module:
    """A network on fake tensors, as training would find it.

    Args:
        network: A module, which is left as it is, or a function that builds one; it is run on fake tensors, and on real
            ones only if it needs values.
        mode: What the fake tensors belong to.
        device: Where they pretend to be.
        layout: How parameters of four dimensions lie in memory.

    Returns:
        The network; in training mode, if nothing in it is.

    Raises:
        InputError: The network cannot be copied, or what a function gave is no module.
    """
    found = network if isinstance(network, nn.Module) else _built(network, mode)
    if not isinstance(found, nn.Module):
        raise InputError(f"The network must be a torch.nn.Module or a function that builds one, not {found!r}.")
    if not all(isinstance(tensor, FakeTensor) for tensor in (*found.parameters(), *found.buffers())):
        found = _copied(found, mode)
    with mode, torch.no_grad():
        _renew(found, device, layout)
    return found if any(module.training for module in found.modules()) else found.train()


def _built(build: Callable[[], nn.Module], mode: FakeTensorMode) -> nn.Module:
    if not callable(build):
        raise InputError(f"The network must be a torch.nn.Module or a function that builds one, not {build!r}.")
    try:
        with mode:
            return build()
    except InputError:
        raise
    except Exception:
        # Some constructors read values, which fake tensors lack.
        return build()


def _copied(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    try:
        with FakeCopyMode(mode):
            return deepcopy(network)
    except Exception as error:
        raise InputError(
            f"{type(network).__name__} cannot be copied to fake tensors ({type(error).__name__}: {error}); give a "
            "function that builds it instead."
        ) from error


def _renew(network: nn.Module, device: torch.device, layout: torch.memory_format) -> None:
    """Move all tensors; `Module.to` refuses fake ones."""
    renewed: dict[Tensor, Tensor] = {}

    def moved(tensor: Tensor) -> Tensor:
        if tensor not in renewed:
            kept = torch.preserve_format if tensor.ndim != 4 else layout
            empty = torch.empty_like(tensor, device=device, memory_format=kept)
            is_parameter = isinstance(tensor, nn.Parameter)
            renewed[tensor] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
        return renewed[tensor]

    for module in network.modules():
        for tensors in cast(list[dict[str, Tensor | None]], [module._parameters, module._buffers]):
            tensors.update({name: moved(tensor) for name, tensor in tensors.items() if tensor is not None})
