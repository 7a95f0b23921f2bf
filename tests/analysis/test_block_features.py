from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.analysis.block_features import block_outputs, pooled, pooled_features
from small_networks import stack


def model_of(network, shape, num_blocks):
    blocks = ll.partition(
        network, torch.zeros(2, *shape, dtype=next(network.parameters()).dtype), num_blocks=num_blocks
    )
    return ll.LocalModel(blocks, ll.Backprop(), ll.Classification(3))


def test_maps_are_averaged_place_by_place():
    maps = torch.randn(3, 5, 4, 2, dtype=torch.float64)
    vectors = pooled(maps)
    for n, c in itertools.product(range(3), range(5)):
        places = [maps[n, c, y, x].item() for y in range(4) for x in range(2)]
        assert vectors[n, c].item() == pytest.approx(sum(places) / 8, abs=1e-12)
    swin = maps.permute(0, 2, 3, 1)
    torch.testing.assert_close(pooled(swin, channels_last=True), vectors, rtol=0, atol=1e-12)


def test_tokens_are_averaged_and_vectors_stay():
    tokens = torch.randn(2, 7, 3, dtype=torch.float64)
    slow = torch.stack([sum(row) / 7 for row in tokens])
    torch.testing.assert_close(pooled(tokens), slow, rtol=0, atol=1e-12)
    assert torch.equal(pooled(tokens[:, 0]), tokens[:, 0])


def test_features_are_what_hooks_see_in_evaluation_mode():
    network = stack([4, 6, 5], dtype=torch.float32)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    model = model_of(network, (3, 8, 8), 3).train()
    batches = [(torch.randn(size, 3, 8, 8), torch.randint(3, (size,))) for size in (4, 2)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = pooled_features(model, batches)
    assert model.training and network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    seen = {}
    for name in ("relu0", "relu1"):
        getattr(network, name).register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, out.clone()))
    network.eval()
    with torch.no_grad():
        logits = network(torch.cat([inputs for inputs, _ in batches]))
    for own, expected in zip(
        found.blocks, (seen["relu0"].mean((2, 3)), seen["relu1"].mean((2, 3)), logits), strict=True
    ):
        assert own.dtype == torch.float32 and own.device.type == "cpu" and not own.requires_grad
        torch.testing.assert_close(own, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(found.labels, torch.cat([labels for _, labels in batches]))


def test_outputs_come_one_by_one_and_are_those_of_all():
    network = stack([4, 6, 5]).eval()
    model = model_of(network, (3, 8, 8), 3).eval()
    inputs = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        pairs = zip(block_outputs(model, inputs), model.features(inputs), strict=True)
        assert all(torch.equal(own, expected) for own, expected in pairs)


def test_a_network_with_channels_last_is_pooled_over_places():
    torchvision = pytest.importorskip("torchvision")
    network = torchvision.models.swin_transformer.SwinTransformer(
        [4, 4], embed_dim=8, depths=[1, 1, 1], num_heads=[1, 1, 1], window_size=[2, 2], num_classes=3
    )
    model = model_of(network, (3, 32, 32), 3)
    found = pooled_features(model, [(torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))])
    widths = [info.out_shape[-1] for info in model.partition.infos[:-1]]
    assert [own.shape[1] for own in found.blocks] == [*widths, 3]
