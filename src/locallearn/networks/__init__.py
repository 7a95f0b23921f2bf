"""Networks that torchvision and timm lack, and look-up by name in all three; nothing is imported before it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from locallearn.networks.lookup import OWN, build, constructor, names

if TYPE_CHECKING:
    from locallearn.networks.cifar_resnet import resnet20, resnet32, resnet44, resnet56, resnet110

__all__ = ["build", "constructor", "names", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]


def __getattr__(name: str) -> Any:
    if name not in OWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(OWN[name].module), name)


def __dir__() -> list[str]:
    return __all__
