"""AugLocal on CIFAR ResNets as the released code goes, one unit per block: selection, strides, heads, one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from reference import heads

Map = Callable[[Tensor], Tensor]


def half_even(value: Fraction) -> int:
    """The nearest whole number; of two, the even one."""
    below = value.numerator // value.denominator
    rest = value - below
    if rest == Fraction(1, 2):
        return below if below % 2 == 0 else below + 1
    return below if rest < Fraction(1, 2) else below + 1


def depths(depth: int, tau: Fraction, count: int) -> list[int]:
    """Depth of the head of each of so many local blocks: from `depth` towards 1."""
    found = []
    for i in range(count):
        u = i * tau / (count - 1) if count > 1 else Fraction(0)
        found.append(max(1, half_even(depth * (1 - u) + u)))
    return found


def selected(unit: int, num_units: int, depth: int) -> list[int]:
    """Evenly spaced later units, all of them if there are no more."""
    later = num_units - 1 - unit
    if depth >= later:
        return list(range(unit + 1, num_units))
    return [half_even(unit + Fraction(later, depth) * i) for i in range(1, depth + 1)]


def strides(widths: Sequence[int], unit: int, chosen: Sequence[int]) -> list[int]:
    """2 while doublings of the width are unpaid, one for each layer."""
    current, debt, found = widths[unit], 0, []
    for j in chosen:
        debt += (widths[j] // current).bit_length() - 1
        found.append(2 if debt >= 1 else 1)
        debt -= found[-1] - 1
        current = widths[j]
    return found


def basic_block(x: Tensor, weights: heads.Weights, name: str, stride: int) -> Tensor:
    """Two 3x3 convolutions and a shortcut, projected where width or resolution change."""
    y = heads.conv3x3(x, weights[f"{name}.conv1.weight"], stride=stride)
    y = heads.relu(heads.batch_norm(y, weights, f"{name}.bn1"))
    y = heads.batch_norm(heads.conv3x3(y, weights[f"{name}.conv2.weight"]), weights, f"{name}.bn2")
    projected = stride != 1 or x.shape[1] != y.shape[1]
    assert projected == (f"{name}.downsample.0.weight" in weights)
    if projected:
        kernel = weights[f"{name}.downsample.0.weight"][:, :, 0, 0]
        x = torch.einsum("oc,bchw->bohw", kernel, x[:, :, ::stride, ::stride])
        x = heads.batch_norm(x, weights, f"{name}.downsample.1")
    return heads.relu(x + y)


def auxiliary(x: Tensor, weights: heads.Weights, block_strides: Sequence[int], *, norm: bool) -> Tensor:
    """Fresh blocks, global average pool, BatchNorm at depth one, linear layer."""
    for place, stride in enumerate(block_strides):
        x = basic_block(x, weights, f"layers.{place}", stride)
    x = heads.block_means(x, 1, 1).flatten(1)
    assert norm == ("norm.weight" in weights)
    return heads.linear(heads.batch_norm(x, weights, "norm") if norm else x, weights, "linear")


def auglocal_step(units: Sequence[Map], losses: Sequence[Map], inputs: Tensor, output_loss: Map) -> None:
    """Each unit with a loss from a detached input; all others together, through the network's classifier."""
    x = inputs
    for unit, loss in zip(units, losses, strict=False):
        x = unit(x)
        loss(x).backward()
        x = x.detach()
    for unit in units[len(losses) :]:
        x = unit(x)
    output_loss(x).backward()
