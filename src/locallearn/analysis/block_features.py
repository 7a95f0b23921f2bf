"""What every block of a trained network makes of images: whole, one block at a time, or pooled to vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from locallearn.auxiliary.feature_map import global_average
from locallearn.auxiliary.tokens import TokenVector
from locallearn.compatibility import has_channels_last
from locallearn.local_model import LocalModel
from locallearn.partitioning.block import State, activation
from locallearn.training.evaluation import evaluating


@dataclass(frozen=True, eq=False)
class PooledFeatures:
    """Vectors that stand for the outputs of a network's blocks.

    Args:
        blocks: For each block (N, D), float32, on the CPU; of the last block the logits.
        labels: (N,), int64, on the CPU.
    """

    blocks: tuple[Tensor, ...]
    labels: Tensor


def block_outputs(model: LocalModel, inputs: Tensor) -> Iterator[Tensor]:
    """The outputs of the blocks one after another; as `LocalModel.features`, with only one held at a time.

    Args:
        model: In evaluation mode, without gradients: see `evaluating`.
        inputs: (N, C, H, W).

    Yields:
        Tensor: What each block hands on, (N, ...); of the last block what the network returns.
    """
    state: State = inputs
    for block in model.partition.blocks:
        state = block(state)
        yield activation(state)


def pooled(features: Tensor, *, channels_last: bool = False) -> Tensor:
    """One vector per sample: the mean over all places of a map, or over all tokens of a sequence.

    Args:
        features: (N, C, H, W), tokens (N, T, D), or vectors (N, D).
        channels_last: Whether maps are (N, H, W, C), as Swin's.

    Returns:
        (N, C) or (N, D); vectors as they are.

    Source: Alain & Bengio, "Understanding intermediate layers using linear classifier probes", 2016.

    Departures:
        Every map is averaged over all its places, so that a probe's size is the number of channels. The mean of tokens
        is over all of them, the class token included.
    """
    match features.ndim:
        case 4:
            return features.mean((1, 2)) if channels_last else global_average(features)
        case 3:
            return TokenVector("mean")(features)
        case _:
            return features.flatten(1)


def pooled_features(model: LocalModel, batches: Iterable[tuple[Tensor, Tensor]]) -> PooledFeatures:
    """Pooled features of all blocks, in one pass over the network.

    Args:
        model: A classifier, frozen: it is put into evaluation mode meanwhile.
        batches: Inputs (N, C, H, W), where the network is, and labels (N,).

    Returns:
        The features and labels of all batches.
    """
    last = has_channels_last(model.partition.units)
    found: list[list[Tensor]] = [[] for _ in model.partition.blocks]
    labels: list[Tensor] = []
    with evaluating(model):
        for inputs, targets in batches:
            labels.append(targets.cpu())
            for own, features in zip(found, block_outputs(model, inputs), strict=True):
                own.append(pooled(features, channels_last=last).to("cpu", torch.float32))
    return PooledFeatures(tuple(torch.cat(own) for own in found), torch.cat(labels))
