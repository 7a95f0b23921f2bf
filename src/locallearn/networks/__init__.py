"""Networks that torchvision and timm lack, and look-up by name in all three; nothing is imported before it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from locallearn.networks.lookup import OWN, build, constructor, names

if TYPE_CHECKING:
    from locallearn.networks.cifar_resnet import resnet20, resnet32, resnet44, resnet56, resnet110
    from locallearn.networks.detectors import mask_rcnn, retinanet
    from locallearn.networks.segmenters import deeplabv3
    from locallearn.networks.slim_resnet import slim_resnet10, slim_resnet18
    from locallearn.networks.small_images import (
        efficientnet_b0_small,
        mobilenet_v2_small,
        regnet_x_400mf_small,
        vgg19_small,
    )

__all__ = [
    "build",
    "constructor",
    "deeplabv3",
    "efficientnet_b0_small",
    "mask_rcnn",
    "mobilenet_v2_small",
    "names",
    "regnet_x_400mf_small",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "retinanet",
    "slim_resnet10",
    "slim_resnet18",
    "vgg19_small",
]


def __getattr__(name: str) -> Any:
    if name not in OWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(OWN[name].module), name)


def __dir__() -> list[str]:
    return __all__
