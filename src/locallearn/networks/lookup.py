"""A network by its name: ours, torchvision's, timm's, or the user's own."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import nn

_KINDS = "a name of `locallearn ls networks`, torchvision:NAME, timm:NAME or package.module:function"


class _Own(NamedTuple):
    module: str
    line: str


_CIFAR = "locallearn.networks.cifar_resnet"
OWN = (
    {
        f"resnet{6 * blocks + 2}": _Own(_CIFAR, f"ResNet for small images, {3 * blocks} blocks of 16, 32, 64 channels")
        for blocks in (3, 5, 7, 9, 18)
    }
    | {
        f"{name}_small": _Own("locallearn.networks.small_images", f"{what} for small images, {layers} local layers")
        for name, what, layers in (
            ("mobilenet_v2", "MobileNetV2", 19),
            ("efficientnet_b0", "EfficientNet-B0", 17),
            ("regnet_x_400mf", "RegNetX-400MF", 23),
            ("vgg19", "VGG19", 16),
        )
    }
    | {
        "deeplabv3": _Own(
            "locallearn.networks.segmenters", "DeepLabV3, segmentation, on ResNet-18 to 101 (backbone=...)"
        )
    }
)
_SLIM = "locallearn.networks.slim_resnet"
_DETECTORS = "locallearn.networks.detectors"
OWN |= {
    "slim_resnet10": _Own(_SLIM, "torchvision's ResNet at half its width, one block per stage"),
    "slim_resnet18": _Own(_SLIM, "torchvision's ResNet at half its width, two blocks per stage"),
    "mask_rcnn": _Own(_DETECTORS, "torchvision's Mask R-CNN over a ResNet with feature pyramid"),
    "retinanet": _Own(_DETECTORS, "torchvision's RetinaNet over a ResNet with feature pyramid"),
}
"""Where each of our networks lives and what it is, by name."""

TORCHVISION = (
    *("vgg13", "vgg13_bn", "vgg19", "vgg19_bn", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext101_32x8d", "mobilenet_v2", "efficientnet_b0", "regnet_x_400mf", "vit_b_16"),
)
"""Networks of torchvision that papers of local learning use: their bare names are known without importing it."""


def names() -> dict[str, str]:
    """What `build` understands; imports no library.

    Returns:
        One line about each name, the three open kinds last.
    """
    open_kinds = {
        "torchvision:NAME": "any classification network of torchvision; its bare name too where we have none",
        "timm:NAME": "any network of timm, which is an optional extra",
        "package.module:function": "your own: function(num_classes=..., **options) returns an nn.Module",
    }
    return {name: own.line for name, own in OWN.items()} | dict.fromkeys(TORCHVISION, "torchvision's") | open_kinds


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A network with random weights, or with those that its library offers.

    Args:
        name: One of ours (`locallearn ls networks`), `torchvision:NAME` or a bare torchvision name that we lack,
            `timm:NAME`, or `package.module:function`.
        num_classes: Outputs.
        **options: Handed to the network's constructor. For torchvision's networks `weights` names weights to load,
            such as `"IMAGENET1K_V1"` or `"DEFAULT"`; for timm's there is `pretrained=True`. Where the weights have
            another number of classes the classifier starts at random.

    Returns:
        The network.

    Raises:
        InputError: The name is unknown, its library missing, an option illegal, weights cannot be had, or what a
            function returned is no module.
    """
    return constructor(name)(num_classes, **options)


def constructor(name: str) -> Callable[..., nn.Module]:
    """What builds a network, with its library imported and nothing built yet.

    Args:
        name: See `build`.

    Returns:
        A function of the number of classes and the network's options.

    Raises:
        InputError: The name is unknown, or its library missing.
    """
    if name in OWN:
        return _refusing(partial(_call, name, getattr(importlib.import_module(OWN[name].module), name)))
    library, colon, rest = name.partition(":")
    if not colon:
        return _refusing(_torchvision(name, name))
    if library == "torchvision":
        return _refusing(_torchvision(name, rest))
    if library == "timm":
        return _refusing(_timm(name, rest))
    return _refusing(partial(_call, name, _imported(name, library, rest)))


def _refusing(make: Callable[[int, dict[str, Any]], nn.Module]) -> Callable[..., nn.Module]:
    def made(num_classes: int, **options: Any) -> nn.Module:
        if num_classes < 1:
            raise InputError(f"num_classes must be at least 1, not {num_classes}.")
        return make(num_classes, options)

    return made


def _call(name: str, function: Callable[..., Any], num_classes: int, options: dict[str, Any]) -> nn.Module:
    from torch import nn

    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise InputError(f"{name!r} is no function that builds a network ({error}).") from error
    try:
        bound = signature.bind(num_classes=num_classes, **options)
    except TypeError as error:
        raise InputError(
            f"The network {name!r} cannot be called with num_classes and {_quoted(options)}: {error}; "
            f"its options are {_quoted(p for p in signature.parameters if p != 'num_classes')}."
        ) from error
    network = function(*bound.args, **bound.kwargs)
    if not isinstance(network, nn.Module):
        raise InputError(f"{name!r} must return a torch.nn.Module, not {type(network).__name__}.")
    return network


def _torchvision(name: str, model: str) -> Callable[[int, dict[str, Any]], nn.Module]:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise _unknown(name, model, [*OWN, *known] if name == model else known)
    return partial(_from_torchvision, name, models.get_model_builder(model))


def _from_torchvision(name: str, construct: Callable[..., Any], num_classes: int, options: dict[str, Any]) -> nn.Module:
    options = dict(options)
    weights = options.pop("weights", None)
    network = _built(name, construct, {"weights": None}, num_classes, options)
    if weights is None:
        return network
    from locallearn.networks.pretrained import torchvision_weights

    return torchvision_weights(name, construct, weights, network, options)


def _timm(name: str, model: str) -> Callable[[int, dict[str, Any]], nn.Module]:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError(f"The network {name!r} needs timm: pip install 'locallearn[timm]'.") from error
    if not timm.is_model(model):
        raise _unknown(name, model, timm.list_models())
    return partial(_from_timm, name, model)


def _from_timm(name: str, model: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    import timm

    options = dict(options)
    pretrained = options.pop("pretrained", False)
    if not isinstance(pretrained, bool):
        raise InputError(f"The network {name!r} takes pretrained=True or False, not {pretrained!r}.")
    network = _built(name, timm.models.model_entrypoint(model), {"pretrained": False}, num_classes, options)
    if not pretrained:
        return network
    from locallearn.networks.pretrained import timm_weights

    return timm_weights(name, model, num_classes, options)


def _built(
    name: str, construct: Callable[..., Any], fixed: dict[str, Any], num_classes: int, options: dict[str, Any]
) -> nn.Module:
    fixed = fixed | {"num_classes": num_classes}
    legal = f"its options are {_quoted(_options(construct))}."
    clashes = options.keys() & {*fixed, *_LOADERS}
    if clashes:
        other = "pretrained=True" if name.startswith("timm:") else "weights='DEFAULT'"
        raise InputError(f"The network {name!r} takes no {_quoted(clashes)}; for weights say {other}; {legal}")
    try:
        return construct(**fixed, **options)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(f"The network {name!r} cannot be built with {_quoted(options)}: {error}; {legal}") from error


_LOADERS = ("weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")
"""Options by which libraries load weights; those not said by ours could name a file of any kind."""


def _options(construct: Callable[..., Any]) -> list[str]:
    # A library's constructor hands its keywords on to the class it is annotated to return.
    made = inspect.signature(construct).return_annotation
    parameters = inspect.signature(made).parameters.values() if inspect.isclass(made) else ()
    return [each.name for each in parameters if each.default is not each.empty and each.name != "num_classes"]


def _imported(name: str, module_name: str, function_name: str) -> Callable[..., Any]:
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise _unknown(name, name, OWN)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"The network {name!r} cannot be imported from {module_name} ({error}): is its folder on PYTHONPATH? "
            f"Use {_KINDS}."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise _unknown(name, function_name, [key for key, value in vars(module).items() if callable(value)])
    return function


def _unknown(name: str, model: str, known: Iterable[str]) -> InputError:
    close = difflib.get_close_matches(model, list(known), n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return InputError(f"There is no network {name!r}.{hint} Use {_KINDS}.")


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words)) or "none"
