"""What each auxiliary network keeps for its backward pass, counted against what it has to keep."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.auxiliary import (
    ConvClassifier,
    ConvMLP,
    DenseHead,
    ImageDecoder,
    PooledLinear,
    SimilarityConv,
    UpsamplingDecoder,
)
from locallearn.auxiliary.ahead_layer import AheadLayer
from locallearn.auxiliary.conv_mlp import AUGLOCAL
from locallearn.networks import resnet20

BATCH = 64


def kept(module: nn.Module, features: torch.Tensor) -> float:
    """Values kept for backward beside the features, the parameters and the output, per sample."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (features, *module.parameters())}
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(features)
    known.add(output.untyped_storage().data_ptr())
    return sum(size for pointer, size in storages.items() if pointer not in known) / 4 / BATCH


@pytest.mark.parametrize(
    ("module", "shape", "values"),
    [
        # Per convolution and hidden layer its output and, in one storage, what BatchNorm and ReLU made of it.
        (ConvMLP((16, 32, 32), 10, AUGLOCAL), (16, 32, 32), 16 * 64 + 6 * 16 * 64 + 64 + 4 * 64),
        # The second pool does nothing here.
        (ConvMLP((64, 8, 8), 10, AUGLOCAL), (64, 8, 8), 64 * 4 + 6 * 64 * 4 + 4 * 256),
        (ConvClassifier((16, 32, 32), 10, final_channels=64), (16, 32, 32), 2 * 32 * 256 + 32 + 128),
        (ConvClassifier((64, 8, 8), 10, final_channels=64, layers="2c2f"), (64, 8, 8), 4 * 64 * 64 + 64 + 128),
        (ImageDecoder((16, 32, 32), (3, 32, 32)), (16, 32, 32), 2 * 12 * 1024),
        (ImageDecoder((64, 8, 8), (3, 32, 32)), (64, 8, 8), 2 * 12 * 1024),
        # Per doubling what BatchNorm reads and what the next convolution reads, on the small map.
        (UpsamplingDecoder((64, 4, 4), (3, 32, 32)), (64, 4, 4), 2 * (128 * 4**2 + 32 * 8**2 + 12 * 16**2)),
        # What BatchNorm reads, what the classifier reads, which pixels were kept.
        (DenseHead((16, 32, 32), 5), (16, 32, 32), 2 * 8 * 1024),
        (PooledLinear((16, 32, 32), 10, threshold=512, zero_weight=False), (16, 32, 32), 512),
        (SimilarityConv((16, 32, 32), kaiming=True), (16, 32, 32), 0),
    ],
)
def test_no_more_than_needed(module: nn.Module, shape: tuple[int, ...], values: int) -> None:
    features = torch.randn(BATCH, *shape, requires_grad=True)
    # The slack is for what does not grow with the batch: statistics, rearranged weights, interpolation tables.
    assert values <= kept(module, features) <= values * 1.03 + 300


def test_branches_share_the_features_and_keep_nothing_when_recomputed() -> None:
    units = [resnet20(10).layer1[0] for _ in range(2)]
    layer = AheadLayer(averaged=units[0].requires_grad_(False), learned=units[1])
    features = torch.randn(BATCH, 16, 32, 32, requires_grad=True)
    maps = 4 * 16 * 1024  # a unit's two convolutions and what BatchNorm and ReLU made of them
    assert 2 * maps <= kept(layer, features) <= 2 * maps * 1.03
    layer.recompute = True
    assert kept(layer, features) == 0


@pytest.mark.parametrize(
    "module",
    [
        ConvMLP((8, 8, 8), 10, AUGLOCAL),
        ConvClassifier((8, 8, 8), 10, final_channels=16, layers="2c2f"),
    ],
)
def test_each_relu_writes_over_its_input(module: nn.Module) -> None:
    same: list[bool] = []
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.register_forward_hook(lambda _, given, made: same.append(given[0].data_ptr() == made.data_ptr()))
    module(torch.randn(4, 8, 8, 8))
    assert same and all(same)
