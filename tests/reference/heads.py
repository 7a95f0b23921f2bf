"""The auxiliary networks on maps as plain functions of given weights, in training mode.

``weights`` is ``dict(head.named_parameters())`` of the head in question; nothing here knows how the head computes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def batch_norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Normalises each channel (axis 1) by the batch's own mean and biased variance."""
    others = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean = x.mean(others, keepdim=True)
    variance = ((x - mean) ** 2).mean(others, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weights[f"{name}.weight"].view(shape) + weights[f"{name}.bias"].view(
        shape
    )


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0)


def block_means(x: Tensor, rows: int, columns: int) -> Tensor:
    """Means of rows x columns cells; the sides must divide."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, channels, rows, height // rows, columns, width // columns).mean((3, 5))


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    bias = weights.get(f"{name}.bias")
    product = x @ weights[f"{name}.weight"].T
    return product if bias is None else product + bias


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """3x3 convolution with padding 1 as nine shifted products of channels."""
    padded = F.pad(x, (1, 1, 1, 1))
    height, width = x.shape[2:]
    total = torch.zeros((), dtype=x.dtype)
    for i in range(3):
        for j in range(3):
            total = total + torch.einsum(
                "oc,bchw->bohw", weight[:, :, i, j], padded[:, :, i : i + height, j : j + width]
            )
    total = total[:, :, ::stride, ::stride]
    return total if bias is None else total + bias[:, None, None]


def pooled_linear(x: Tensor, weights: Weights, rows: int, columns: int) -> Tensor:
    """PredSim's prediction head, where the pool leaves rows x columns cells and divides the sides."""
    return linear(block_means(x, rows, columns).flatten(1), weights, "linear")


def similarity_conv(x: Tensor, weights: Weights) -> Tensor:
    return conv3x3(x, weights["layer.weight"])


def conv_mlp(x: Tensor, weights: Weights, first: tuple[int, int], second: tuple[int, int]) -> Tensor:
    """DGL's head; ``first`` and ``second`` are the rows and columns after the two pools."""
    x = block_means(x, *first)
    i = 0
    while f"convs.{i}.conv.weight" in weights:
        x = torch.einsum("oc,bchw->bohw", weights[f"convs.{i}.conv.weight"], x)
        x = relu(batch_norm(x, weights, f"convs.{i}.norm"))
        i += 1
    x = block_means(x, *second).flatten(1)
    i = 0
    while f"hidden.{i}.linear.weight" in weights:
        x = relu(batch_norm(linear(x, weights, f"hidden.{i}.linear"), weights, f"hidden.{i}.norm"))
        i += 1
    return linear(x, weights, "linear")


def conv_classifier(x: Tensor, weights: Weights, first_stride: int) -> Tensor:
    """InfoPro's head."""
    i = 0
    while f"convs.{i}.conv.weight" in weights:
        x = conv3x3(x, weights[f"convs.{i}.conv.weight"], stride=first_stride if i == 0 else 1)
        x = relu(batch_norm(x, weights, f"convs.{i}.norm"))
        i += 1
    x = block_means(x, 1, 1).flatten(1)
    i = 0
    while f"hidden.{i}.linear.weight" in weights:
        x = relu(linear(x, weights, f"hidden.{i}.linear"))
        i += 1
    return linear(x, weights, "linear")


def image_decoder(x: Tensor, weights: Weights, size: tuple[int, int]) -> Tensor:
    """InfoPro's decoder, up to the sigmoid."""
    x = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
    x = relu(batch_norm(conv3x3(x, weights["conv.weight"], weights["conv.bias"]), weights, "norm"))
    return conv3x3(x, weights["to_image.weight"], weights["to_image.bias"])
