"""Weights that torchvision and timm offer, by their own loaders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from locallearn.errors import InputError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


def torchvision_weights(
    name: str, construct: Callable[..., Any], weights: object, fresh: nn.Module, options: dict[str, Any]
) -> nn.Module:
    """A network of torchvision with weights that it offers; with another number of classes the classifier is fresh.

    The library builds the network that the weights are for and loads them strictly. Layers whose shape depends on the
    number of classes are then those of `fresh`; no other layer may differ.

    Args:
        name: What the user called the network.
        construct: Torchvision's function that builds it.
        weights: Their name, such as `"IMAGENET1K_V1"` or `"DEFAULT"`.
        fresh: The network with random weights.
        options: Further options of `construct`.

    Returns:
        The network.

    Raises:
        InputError: There are no such weights, they cannot be had, or they are for other options.
    """
    network = loaded(name, construct, offered(name, construct, weights), options)
    _replace_classifier(name, network, fresh)
    return network


def offered(name: str, construct: Callable[..., Any], weights: object) -> WeightsEnum:
    """An entry of torchvision's list of weights; nothing is fetched.

    Args:
        name: What the user called the network.
        construct: Torchvision's function that builds it.
        weights: Their name.

    Returns:
        What torchvision knows of them.

    Raises:
        InputError: There are no such weights.
    """
    from torchvision.models import get_model_weights

    found = get_model_weights(construct)
    if not isinstance(weights, str) or weights not in found.__members__:
        legal = ", ".join(repr(each) for each in found.__members__) or "none at all"
        raise InputError(f"The network {name!r} has no weights {weights!r}; it has {legal}.")
    return found[weights]


def loaded(name: str, construct: Callable[..., Any], weights: WeightsEnum, options: dict[str, Any]) -> Any:
    """A network of torchvision with weights and the classes that they are for.

    Args:
        name: What the user called the network.
        construct: Torchvision's function that builds it.
        weights: What `offered` returned.
        options: Further options of `construct`.

    Returns:
        The network.

    Raises:
        InputError: The weights cannot be had, or they are for other options.
    """
    try:
        # Refuses a file that holds anything but tensors; the second reading is of the same file.
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        return construct(weights=weights, progress=False, **options)
    except Exception as error:
        raise InputError(_unobtainable(name, repr(weights.name), error)) from error


def timm_weights(name: str, model: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    """A network of timm with the weights that its name stands for; timm makes a fresh classifier where it needs one.

    Args:
        name: What the user called the network.
        model: What timm calls it, perhaps with the tag of its weights.
        num_classes: Outputs.
        options: Further options of the network.

    Returns:
        The network.

    Raises:
        InputError: There are no weights, they cannot be had, or they are for other options.
    """
    import timm

    try:
        return timm.create_model(model, pretrained=True, num_classes=num_classes, **options)
    except Exception as error:
        raise InputError(_unobtainable(name, "pretrained", error)) from error


def _unobtainable(name: str, weights: str, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"The weights {weights} of the network {name!r} could not be loaded ({type(error).__name__}: {reason}). They "
        "come from the library's own server: is there a network connection, and do all other options fit them? Leave "
        "weights=, weights_backbone= or pretrained= out to start at random."
    )


def _replace_classifier(name: str, network: nn.Module, fresh: nn.Module) -> None:
    others = dict(fresh.named_modules())
    differing = [path for path, module in network.named_modules() if _differs(module, others.get(path))]
    for path in differing:
        own, other = network.get_submodule(path), others.get(path)
        if type(own) is not type(other) or not isinstance(own, (nn.Linear, nn.Conv2d)) or not _same_inputs(own, other):
            raise InputError(
                f"The weights of {name!r} do not fit its layer {path!r} beside the classifier: leave options out that "
                "change layers, or weights=."
            )
        owner, _, attribute = path.rpartition(".")
        setattr(network.get_submodule(owner), attribute, other)


def _differs(one: nn.Module, other: nn.Module | None) -> bool:
    own = {
        name: tensor.shape for name, tensor in [*one.named_parameters(recurse=False), *one.named_buffers(recurse=False)]
    }
    if other is None:
        return bool(own)
    tensors = [*other.named_parameters(recurse=False), *other.named_buffers(recurse=False)]
    return own != {name: tensor.shape for name, tensor in tensors}


def _same_inputs(own: nn.Linear | nn.Conv2d, other: object) -> bool:
    assert isinstance(other, (nn.Linear, nn.Conv2d))
    return own.weight.shape[1:] == other.weight.shape[1:] and (own.bias is None) == (other.bias is None)
