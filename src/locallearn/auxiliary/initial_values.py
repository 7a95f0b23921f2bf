"""Fresh initial values for layers that were copied."""

from __future__ import annotations

from torch import nn

from locallearn.auxiliary.feature_map import kaiming_fan_out_


def draw_anew(module: nn.Module) -> None:
    """Give every layer inside a module new initial values.

    Two-dimensional convolutions are drawn from N(0, sqrt(2 / (k_h k_w C_out))), as the released CIFAR networks do; all
    other layers start as PyTorch starts them (BatchNorm at 1 and 0, with fresh running statistics). A parameter that no
    such layer owns keeps its value.

    Args:
        module: Changed in place.
    """
    for layer in module.modules():
        reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
        if callable(reset):
            reset()
        if isinstance(layer, nn.Conv2d):
            kaiming_fan_out_(layer)
