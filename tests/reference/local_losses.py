"""The local losses of DGL, PredSim and InfoPro as plain functions of the weights of their auxiliary networks.

``weights`` has one mapping for each term of the loss, with buffers where the heads normalise by running statistics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reference import heads, losses


def running_batch_norm(x: Tensor, weights: heads.Weights, name: str) -> Tensor:
    """Normalises each channel by given statistics, in place of `heads.batch_norm`."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean, variance, weight, bias = (
        weights[f"{name}.{key}"].view(shape) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def linear_prediction(x: Tensor, labels: Tensor, weights: Sequence[heads.Weights]) -> Tensor:
    """Global average pool, linear layer, cross-entropy."""
    return F.cross_entropy(heads.linear(heads.block_means(x, 1, 1).flatten(1), weights[0], "linear"), labels)


def dgl(x: Tensor, labels: Tensor, weights: Sequence[heads.Weights]) -> Tensor:
    """AugLocal's form of DGL's head."""
    quarter = -(-x.shape[2] // 4)
    second = min(quarter, 2)
    return F.cross_entropy(heads.conv_mlp(x, weights[0], (quarter, quarter), (second, second)), labels)


def predsim(x: Tensor, labels: Tensor, weights: Sequence[heads.Weights], *, classes: int, beta: float) -> Tensor:
    """Similarity matching by a convolution, prediction by a linear layer."""
    similarity = losses.similarity_matching(heads.similarity_conv(x, weights[0]), labels, classes)
    prediction = F.cross_entropy(heads.pooled_linear(x, weights[1], *x.shape[2:]), labels)
    return beta * similarity + (1 - beta) * prediction


def infopro(
    x: Tensor,
    labels: Tensor,
    weights: Sequence[heads.Weights],
    *,
    images: Tensor,
    position: float,
    reconstruction: tuple[float, float],
    prediction: tuple[float, float],
    grows: bool,
    contrastive: bool,
) -> Tensor:
    """Reconstruction and task loss, weighted by depth; ``grows``: the head's convolution doubles the channels."""
    restored = heads.image_decoder(x, weights[0], (images.shape[2], images.shape[3]))
    output = heads.conv_classifier(x, weights[1], 2 if grows else 1)
    task = losses.supervised_contrastive(output, labels) if contrastive else F.cross_entropy(output, labels)
    first, second = ((1 - position) * pair[0] + position * pair[1] for pair in (reconstruction, prediction))
    return first * losses.reconstruction(restored, images) + second * task
