from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from locallearn.auxiliary.fresh_layer import fresh_block, fresh_weight_layer
from locallearn.networks import resnet32

NETWORKS = {
    "ours": lambda: resnet32(),
    "resnet18": lambda: models.resnet18(norm_layer=lambda channels: nn.BatchNorm2d(channels, eps=1e-4, momentum=0.3)),
    "resnet50": lambda: models.resnet50(num_classes=3),
    "resnext": lambda: models.resnext50_32x4d(num_classes=3),
    "mobilenet": lambda: models.mobilenet_v2(num_classes=3),
    "efficientnet": lambda: models.efficientnet_b0(num_classes=3),
    "efficientnet_v2": lambda: models.efficientnet_v2_s(num_classes=3),
    "regnet_x": lambda: models.regnet_x_400mf(num_classes=3),
    "regnet_y": lambda: models.regnet_y_400mf(num_classes=3),
    "groupnorm": lambda: models.resnet18(norm_layer=lambda channels: nn.GroupNorm(8, channels)),
}
KINDS = ("BasicBlock", "Bottleneck", "InvertedResidual", "MBConv", "ResBottleneckBlock")


def blocks_of(network):
    return [module for module in network.modules() if type(module).__name__ in KINDS]


def form(block):
    return str(block).replace(", inplace=True", "")


def in_channels(block):
    return next(module for module in block.modules() if isinstance(module, nn.Conv2d)).in_channels


def stride(block):
    return 2 if any(m.stride == (2, 2) for m in block.modules() if isinstance(m, nn.Conv2d)) else 1


@pytest.fixture
def without_initial_values(monkeypatch):
    """Drawing numbers is most of the time of building networks whose form alone is asked for."""
    for name in ("normal_", "kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.usefixtures("without_initial_values")
@pytest.mark.parametrize("name", NETWORKS)
def test_for_its_own_shape_a_block_is_built_as_the_network_builds_it(name):
    blocks = blocks_of(NETWORKS[name]())
    assert len(blocks) >= 8
    for block in blocks:
        fresh = fresh_block(block, in_channels(block), stride(block))
        assert type(fresh) is type(block)
        assert form(fresh) == form(block)
        assert [p.shape for p in fresh.parameters()] == [p.shape for p in block.parameters()]


@pytest.mark.usefixtures("without_initial_values")
@pytest.mark.parametrize("name", NETWORKS)
def test_other_channels_and_strides(name):
    block = blocks_of(NETWORKS[name]())[-1]
    width = block(torch.randn(2, in_channels(block), 4, 4)).shape[1]
    for channels in (24, width):
        for step in (1, 2):
            fresh = fresh_block(block, channels, step)
            maps = torch.randn(2, channels, 6, 6, requires_grad=True)
            found = fresh(maps)
            assert found.shape == (2, width, 6 // step, 6 // step)
            found.sum().backward()
            assert maps.grad is not None and all(p.grad is not None for p in fresh.parameters())
            own = {tensor.data_ptr() for tensor in (*block.parameters(), *block.buffers())}
            assert not own & {tensor.data_ptr() for tensor in (*fresh.parameters(), *fresh.buffers())}


def test_initial_values_are_those_of_the_released_code():
    block = resnet32().layer3[1]
    with torch.no_grad():
        for tensor in (*block.parameters(), *block.buffers()):
            tensor.fill_(7)
    fresh = fresh_block(block, 32, 2)
    for conv in (module for module in fresh.modules() if isinstance(module, nn.Conv2d)):
        deviation = (2 / (conv.kernel_size[0] ** 2 * 64)) ** 0.5
        torch.testing.assert_close(conv.weight.std(), torch.tensor(deviation), rtol=0.05, atol=0)
    for norm in (module for module in fresh.modules() if isinstance(module, nn.BatchNorm2d)):
        assert norm.weight.eq(1).all() and not norm.bias.any()
        assert norm.running_var.eq(1).all() and not norm.running_mean.any() and norm.num_batches_tracked == 0


def test_unknown_kinds_are_left_to_others():
    assert fresh_block(nn.Conv2d(3, 4, 3), 3, 1) is None
    assert fresh_block(models.densenet121().features.denseblock1, 64, 1) is None


CONV = nn.Conv2d(8, 16, 3, padding=1)


def weight_layer(*modules, channels=6, width=16, maps=True, pool=None):
    return fresh_weight_layer(modules, channels, width, maps=maps, pool=pool)


def test_convolution_with_normalisation_and_activation():
    norm = nn.BatchNorm2d(16, eps=1e-4)
    norm.requires_grad_(False).weight.fill_(7)
    relu = nn.ReLU(inplace=True)
    relu.register_forward_hook(lambda *_: 1 / 0)
    fresh = weight_layer(nn.MaxPool2d(2), nn.Dropout(), CONV, norm, relu, pool=nn.MaxPool2d(2))
    assert [type(module) for module in fresh] == [nn.MaxPool2d, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert (fresh[1].in_channels, fresh[1].stride, fresh[1].bias is None) == (6, (1, 1), False)
    assert fresh[2].eps == 1e-4 and fresh[2].weight.eq(1).all() and fresh[2].weight.requires_grad
    assert fresh(torch.randn(2, 6, 8, 8)).shape == (2, 16, 4, 4)
    torch.testing.assert_close(fresh[1].weight.std(), torch.tensor((2 / (9 * 16)) ** 0.5), rtol=0.1, atol=0)
    own = {tensor.data_ptr() for module in (CONV, norm) for tensor in (*module.parameters(), *module.buffers())}
    assert not own & {tensor.data_ptr() for tensor in (*fresh.parameters(), *fresh.buffers())}
    assert len(weight_layer(CONV, norm)) == 2


def test_linear_layers_of_vectors_and_tokens():
    fresh = weight_layer(nn.Linear(8, 5, bias=False), nn.GELU(), width=5, maps=False)
    assert fresh(torch.randn(2, 6)).shape == (2, 5) and fresh(torch.randn(2, 9, 6)).shape == (2, 9, 5)
    assert fresh[0].bias is None


@pytest.mark.parametrize(
    "modules",
    [
        (),
        (nn.MaxPool2d(2),),
        (nn.Linear(8, 16),),
        (CONV, CONV),
        (CONV, nn.MaxPool2d(2)),
        (CONV, nn.PixelShuffle(2)),
        (CONV, nn.LayerNorm((16, 8, 8))),
        (nn.Conv2d(8, 16, 2, 2),),
        (nn.Conv2d(8, 16, 3),),
        (nn.Conv2d(8, 16, 3, padding=1, groups=8),),
        (nn.Conv2d(8, 32, 3, padding=1), nn.GLU(1)),
    ],
)
def test_other_chains_are_left_to_others(modules):
    assert weight_layer(*modules) is None
