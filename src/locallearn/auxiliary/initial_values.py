"""Fresh initial values for layers that were copied."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.utils.parametrize import cached, is_parametrized

from locallearn.auxiliary.feature_map import kaiming_fan_out_


def draw_anew(module: nn.Module) -> None:
    """Give every layer inside a module new initial values.

    Two-dimensional convolutions are drawn from N(0, sqrt(2 / (k_h k_w C_out))), as the released CIFAR networks do; all
    other layers start as PyTorch starts them (BatchNorm at 1 and 0, with fresh running statistics). A parameter that no
    such layer owns keeps its value. Inner layers come first, so that a layer made of others has the last word.

    Args:
        module: Changed in place.
    """
    for layer in reversed(list(module.modules())):
        computed = list(cast(nn.ModuleDict, layer.parametrizations)) if is_parametrized(layer) else []
        with cached(), torch.no_grad():
            reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
            if callable(reset):
                reset()
            if isinstance(layer, nn.Conv2d):
                kaiming_fan_out_(layer)
            values = {name: getattr(layer, name).detach().clone() for name in computed}
        for name, value in values.items():
            setattr(layer, name, value)
