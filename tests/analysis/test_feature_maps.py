"""What channels show: which ones are chosen, and what is drawn of them."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.analysis import opened
from locallearn.analysis.feature_maps import block_maps, evenly_spaced, feature_maps, in_own_range, strongest_channels
from locallearn.errors import InputError
from small_networks import perceptron


def cut(network, example, blocks):
    return ll.LocalModel(ll.partition(network, example, num_blocks=blocks), ll.Backprop(), ll.Classification(3))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True)]
    return cut(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)), torch.zeros(2, 3, 8, 8), 2
    )


def test_maps_are_what_modules_hand_on_and_the_last_one_stands_before_the_head(model):
    inputs = torch.randn(5, 3, 8, 8)
    model.train()
    first, last = block_maps(model, inputs)
    assert model.training
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(first, torch.relu(model.network[1](model.network[0](inputs))))
        torch.testing.assert_close(last, torch.relu(model.network[3](first)))
        torch.testing.assert_close(model.network[7](last.mean((2, 3))), model.network(inputs))


def test_channels_that_come_last_are_moved(model, monkeypatch):
    inputs = torch.randn(2, 3, 8, 8)
    plain = block_maps(model, inputs)
    monkeypatch.setattr(sys.modules["locallearn.analysis.feature_maps"], "has_channels_last", lambda units: True)
    for own, moved in zip(plain, block_maps(model, inputs), strict=True):
        assert torch.equal(moved, own.permute(0, 3, 1, 2))


class Rectifying(nn.Module):
    """Writes into what it is given."""

    def __init__(self):
        super().__init__()
        self.relu, self.conv = nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = self.relu(x)
        return y + self.conv(y)


def test_a_last_block_that_writes_into_its_input_leaves_the_map_before_it():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Rectifying(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model, inputs = cut(network, torch.zeros(2, 3, 8, 8), 2), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(block_maps(model, inputs)[0], network[0](inputs))


def test_a_run_is_shown_up_to_its_head(runs):
    run = opened(runs["dgl"])
    model = run.model(torch.device("cpu"))
    ((inputs, _),) = run.batches(run.splits().test, torch.device("cpu"), count=7).epoch(0)
    maps = block_maps(model, inputs)
    with torch.no_grad():
        assert torch.equal(model.partition.head(maps[-1]), model.network(inputs))


def test_tokens_are_laid_out_as_the_grid_of_patches():
    from torchvision.models import VisionTransformer

    shape = {"image_size": 8, "patch_size": 4, "num_layers": 2, "num_heads": 1, "hidden_dim": 4, "mlp_dim": 4}
    model = cut(VisionTransformer(**shape, num_classes=3), torch.zeros(2, 3, 8, 8), 2).eval()
    inputs = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        state = model.partition.blocks[0](inputs)
    tokens = (state[0] if isinstance(state, tuple) else state).numpy()
    first, _ = block_maps(model, inputs)
    assert first.shape == (3, 4, 2, 2)
    for row in range(2):
        for column in range(2):
            assert np.array_equal(first[:, :, row, column].numpy(), tokens[:, 1 + 2 * row + column])


def test_blocks_without_maps_are_all_named():
    network = perceptron()
    example = torch.zeros(2, 8, dtype=torch.float64)
    model = cut(network, example, 3)
    widths = [info.out_shape for info in model.partition.infos]
    named = ", ".join(f"block {index} hands on {shape}" for index, shape in enumerate(widths, 1))
    with pytest.raises(InputError, match=re.escape(named)):
        block_maps(model, example)


def test_channels_of_largest_variance_by_hand():
    torch.manual_seed(1)
    maps = torch.randn(4, 7, 3, 5) * torch.tensor([1.0, 3, 2, 0, 5, 4, 0.5]).view(1, 7, 1, 1) + 9
    variances = []
    for channel in range(7):
        values = [float(value) for image in maps for row in image[channel] for value in row]
        mean = sum(values) / len(values)
        variances.append(sum((value - mean) ** 2 for value in values) / len(values))
    expected = sorted(range(7), key=lambda channel: -variances[channel])
    assert strongest_channels(maps, 4) == tuple(expected[:4])
    assert strongest_channels(maps, 99) == tuple(expected)
    assert strongest_channels(torch.zeros(2, 3, 2, 2), 2) == (0, 1)


def test_what_differs_between_images_counts_though_each_is_flat():
    maps = torch.zeros(2, 2, 2, 2)
    maps[1, 1] = 1
    assert strongest_channels(maps, 1) == (1,)


def test_every_map_has_its_own_range():
    maps = torch.tensor([[[[1.0, 3.0], [2.0, 1.0]], [[-5.0, -5.0], [-5.0, -5.0]], [[0.0, 8.0], [4.0, 2.0]]]])
    assert in_own_range(maps).tolist() == [[[[0, 1], [0.5, 0]], [[0, 0], [0, 0]], [[0, 1], [0.5, 0.25]]]]


def test_blocks_and_channels_can_be_named_and_must_be_there(model):
    inputs = torch.randn(2, 3, 8, 8)
    (found,) = feature_maps(model, inputs, numbers=(3, 0), blocks=(2,))
    assert (found.block, found.channels, found.shape) == (2, (3, 0), (6, 4, 4))
    assert torch.equal(found.maps, in_own_range(block_maps(model, inputs)[1][:, [3, 0]]))
    assert [(each.block, len(each.channels)) for each in feature_maps(model, inputs, count=5)] == [(1, 4), (2, 5)]
    with pytest.raises(InputError, match="Block 1 has channels 0 to 3, and no channel 5"):
        feature_maps(model, inputs, numbers=(5,))


def test_blocks_that_are_not_there_are_named_before_anything_is_computed(model):
    with pytest.raises(InputError) as refusal:
        feature_maps(model, torch.full((0, 99), torch.nan), blocks=(0, 1, 3))
    assert "no block 0; there are 2" in str(refusal.value) and "no block 3" in str(refusal.value)


def test_few_blocks_of_many_are_shown_with_the_first_and_the_last():
    assert evenly_spaced(3, most=8) == [1, 2, 3]
    assert evenly_spaced(1, most=8) == [1]
    assert evenly_spaced(55, most=8) == [1, 9, 16, 24, 32, 40, 47, 55]
