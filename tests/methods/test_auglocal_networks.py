"""AugLocal's heads are made of the layers that each family of networks is made of."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models import VisionTransformer

import locallearn as ll
from locallearn.auxiliary.later_layers import LaterLayers

KINDS = {
    "resnet34": ("BasicBlock", {1, 2}),
    "resnet50": ("Bottleneck", {1, 2}),
    "resnext101_32x8d": ("Bottleneck", {1, 2}),
    "mobilenet_v2": ("InvertedResidual", {1, 2}),
    "efficientnet_b0": ("MBConv", {1, 2}),
    "regnet_x_400mf": ("ResBottleneckBlock", {1, 2}),
    "vgg13": ("Sequential", {1}),
    "vgg19_small": ("Sequential", {1}),
}
"""What the layers are, and the strides of their convolutions: VGG's halve by a pool in front."""


def built(name: str) -> tuple[ll.Partition, list[LaterLayers]]:
    """A network with a block for every unit, and the heads of its local blocks."""
    blocks = ll.partition(
        ll.networks.build(name, 10),
        torch.zeros(2, 3, 32, 32),
        num_blocks={"resnext101_32x8d": 4, "efficientnet_b0": 17, "vgg13": 10, "vgg19_small": 16}.get(name, 8),
        preset="auglocal" if name in ("efficientnet_b0", "vgg13", "vgg19_small") else None,
    )
    model = ll.LocalModel(blocks, ll.AugLocal(depth=4, tau=0.0), ll.Classification(10))
    return blocks, heads_of(model)


def heads_of(model: ll.LocalModel) -> list[LaterLayers]:
    return [inner for objective in model.objectives for inner in objective.modules() if isinstance(inner, LaterLayers)]


def fitting(name: str) -> contextlib.AbstractContextManager[object]:
    """Fake tensors, which need no time to draw weights; RegNet's constructor reads numbers."""
    return contextlib.nullcontext() if name.startswith("regnet") else FakeTensorMode()


@pytest.mark.parametrize("name", KINDS)
def test_layers_are_fresh_blocks_of_the_networks_own_kind(name):
    with fitting(name):
        blocks, heads = built(name)
    kind, strides = KINDS[name]
    assert heads
    owned = {id(parameter) for parameter in blocks.network.parameters()}
    for head in heads:
        assert 1 <= len(head.layers) <= 4
        kinds = {type(layer).__name__ for layer in head.layers}
        assert kinds <= ({kind, "Sequential"} if name == "mobilenet_v2" else {kind})
        assert not owned & {id(parameter) for parameter in head.parameters()}
        assert not any("Adapter" in type(inner).__name__ for inner in head.modules())
    found = {conv.stride[0] for head in heads for conv in head.modules() if isinstance(conv, nn.Conv2d)}
    assert found == strides
    pools = [pool for head in heads for pool in head.modules() if isinstance(pool, nn.MaxPool2d)]
    assert bool(pools) == name.startswith("vgg")


@pytest.mark.parametrize("name", ["resnext101_32x8d", "regnet_x_400mf", "mobilenet_v2"])
def test_groups_are_those_of_the_pattern(name):
    with fitting(name):
        blocks, heads = built(name)

    def widths(module: nn.Module) -> set[int]:
        return {c.in_channels // c.groups for c in module.modules() if isinstance(c, nn.Conv2d) and c.groups > 1}

    found = set().union(*(widths(layer) for head in heads for layer in head.layers))
    assert found and found <= widths(blocks.network)


def test_resolution_falls_by_strides_alone_where_the_network_has_no_pools():
    with FakeTensorMode():
        blocks, heads = built("mobilenet_v2")
        for head, info in zip(heads, blocks.infos, strict=False):
            feature = torch.zeros(2, *blocks.units[info.units.stop - 1].out_shape)
            for layer in head.layers:
                before = feature.shape[2]
                feature = layer(feature)
                strided = any(conv.stride == (2, 2) for conv in layer.modules() if isinstance(conv, nn.Conv2d))
                assert feature.shape[2] == (-(-before // 2) if strided else before)
            assert feature.shape[1] == head.linear.in_features == 1280


def test_encoder_layers_are_copies_drawn_anew():
    torch.manual_seed(0)
    network = VisionTransformer(32, 16, num_layers=12, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=10)
    blocks = ll.partition(network, torch.zeros(2, 3, 32, 32), num_blocks=6, preset="man")
    model = ll.LocalModel(blocks, ll.AugLocal(), ll.Classification(10))
    heads = heads_of(model)
    assert len(heads) == len(model.windows) - 1 > 0
    for head in heads:
        copied = dict(head.layers[-1].named_parameters())
        assert any(name.endswith("in_proj_weight") for name in copied)
        sources = dict(network.named_parameters())
        weights = [name for name in copied if copied[name].ndim > 1]
        assert not any(torch.equal(copied[name], sources[name]) for name in weights)
