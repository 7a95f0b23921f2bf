"""Networks small enough to ask everything of."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def in_dtype(network, dtype):
    """Leave single precision alone: fake tensors cannot be converted in place."""
    return network if dtype == torch.float32 else network.to(dtype)


def stack(widths, classes=3, in_channels=3, strides=None, dtype=torch.float64):
    """Convolution, BatchNorm, ReLU per width; global pool and linear classifier."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before = in_channels
    for index, width in enumerate(widths):
        stride = strides[index] if strides else 1
        layers[f"conv{index}"] = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        layers[f"norm{index}"] = nn.BatchNorm2d(width)
        layers[f"relu{index}"] = nn.ReLU()
        before = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["linear"] = nn.Linear(before, classes)
    return in_dtype(nn.Sequential(layers), dtype)


class Residual(nn.Module):
    """Adds what it computes to what it got; the scale makes it own a parameter."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + x)


def residual(num_blocks=3, width=4, classes=3, dtype=torch.float64):
    """Stem, residual blocks, classifier."""
    parts = OrderedDict(
        stem=nn.Conv2d(3, width, 3, padding=1),
        blocks=nn.Sequential(*(Residual(width) for _ in range(num_blocks))),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        linear=nn.Linear(width, classes),
    )
    return in_dtype(nn.Sequential(parts), dtype)


def perceptron(classes=3, dtype=torch.float64):
    """Four linear layers on eight numbers."""
    hidden = [nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU()]
    return in_dtype(nn.Sequential(*hidden, nn.Linear(6, classes)), dtype)


def gradients(module):
    """Copies of all gradients by name."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
