from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.auxiliary.later_layers import LaterLayers, at_first, by_channel_ratio, never, observed
from locallearn.auxiliary.unit_pattern import UnitPattern
from locallearn.errors import InputError
from locallearn.networks import resnet32
from locallearn.networks.cifar_resnet import BasicBlock


class Scale(nn.Module):
    """A layer of a kind that nobody knows."""

    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, maps):
        return maps * self.conv(maps)


def pattern(out_shape, modules=None, in_shape=None, copy=None):
    modules = (BasicBlock(2, out_shape[0], 1),) if modules is None else modules
    return UnitPattern("unit", in_shape or out_shape, out_shape, modules, copy or (lambda: modules[0]))


def built(shape, patterns, halving, **options):
    """Channels and rows after each layer."""
    head = LaterLayers(shape, 3, patterns, halving, **options)
    features, found = torch.randn(2, *shape), []
    for layer in head.layers:
        features = layer(features)
        found.append((features.shape[1], features.shape[2]))
    torch.testing.assert_close(head.linear.in_features, features.shape[1])
    return found


SMALL = {width: pattern((width, 512 // width, 512 // width)) for width in (16, 32, 64)}


@pytest.mark.parametrize("rule", ["observed", "channel_ratio"])
@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        # The debt of two halvings is paid by two layers, and dropped where only one is left.
        ((64,), [(64, 16)]),
        ((64, 64), [(64, 16), (64, 8)]),
        ((64, 64, 64), [(64, 16), (64, 8), (64, 8)]),
        ((32, 64), [(32, 16), (64, 8)]),
        ((16, 32, 64), [(16, 32), (32, 16), (64, 8)]),
        ((16, 16), [(16, 32), (16, 32)]),
    ],
)
def test_one_halving_per_layer(rule, widths, expected):
    halving = observed if rule == "observed" else by_channel_ratio(SMALL[16])
    assert built((16, 32, 32), [SMALL[width] for width in widths], halving) == expected


def test_other_rules():
    assert built((16, 32, 32), [SMALL[64]] * 2, never) == [(64, 32), (64, 32)]
    assert built((16, 32, 32), [SMALL[16]] * 3, at_first()) == [(16, 16), (16, 16), (16, 16)]


@pytest.mark.parametrize(
    ("have", "want", "halves"),
    [
        (8, 4, True),
        (8, 8, False),
        (7, 4, True),
        (7, 3, True),
        (7, 5, False),
        (1, 1, False),
        (4, 8, False),
        (8, 1, True),
    ],
)
def test_observed_sides(have, want, halves):
    assert observed((16, have, have), pattern((16, want, want))) is halves
    assert observed((16, have, 1), pattern((16, want, 1))) is halves
    assert not observed((16, have), pattern((16, want)))


def test_released_rule_refuses_falling_widths_and_counts_doublings_down():
    with pytest.raises(InputError, match=r"unit unit has 16 channels after 32 .* use downsampling='observed'"):
        built((32, 16, 16), [SMALL[16]], by_channel_ratio(SMALL[32]))
    rule = by_channel_ratio(SMALL[16])
    assert [rule((), pattern((width, 8, 8))) for width in (24, 48, 150, 150)] == [False, True, True, False]


def test_released_rule_counts_planes_of_bottlenecks():
    from torchvision.models.resnet import Bottleneck

    stem = pattern((64, 16, 16), modules=(nn.Conv2d(3, 64, 3), nn.ReLU()))
    same, double = (pattern((4 * width, 8, 8), modules=(Bottleneck(4 * width, width),)) for width in (64, 128))
    rule = by_channel_ratio(stem)
    assert [rule((), each) for each in (same, double, double)] == [False, True, False]


@pytest.mark.parametrize(("widths", "expected"), [((64, 256, 256, 512), [False, True, False, True])])
def test_released_rule_pools_once_where_the_width_of_a_plain_convolution_changes(widths, expected):
    start, *later = (pattern((width, 1, 1), modules=(nn.Conv2d(3, width, 3, padding=1),)) for width in (64, *widths))
    rule = by_channel_ratio(start)
    assert [rule((), each) for each in later] == expected


def test_plain_convolutions_pool_in_front():
    def conv(width, side):
        return pattern((width, side, side), modules=(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()))

    head = LaterLayers((4, 8, 8), 3, [conv(6, 8), conv(10, 4), conv(10, 1), conv(10, 1)], observed)
    assert [type(layer[0]).__name__ for layer in head.layers] == ["Conv2d"] + ["MaxPool2d"] * 3
    assert built((4, 8, 8), [conv(6, 8), conv(10, 4), conv(10, 1)], observed) == [(6, 8), (10, 4), (10, 2)]
    assert head(torch.randn(2, 4, 8, 8)).shape == (2, 3)


def test_unknown_kinds_are_copies_drawn_anew_behind_an_adapter():
    layer = Scale().requires_grad_(False)
    with torch.no_grad():
        layer.conv.weight.fill_(7)

    def copy():
        from copy import deepcopy

        return deepcopy(layer)

    unknown = pattern((8, 4, 4), modules=(layer,), copy=copy)
    head = LaterLayers((16, 16, 16), 3, [unknown, unknown], observed)
    assert [type(module).__name__ for module in head.layers] == ["Sequential", "Scale"]
    assert head.layers[0].adapter.conv.stride == (4, 4)
    assert all(parameter.requires_grad for parameter in head.parameters())
    assert not head.layers[1].conv.weight.eq(7).any() and layer.conv.weight.eq(7).all()
    assert not torch.equal(head.layers[0].layer.conv.weight, head.layers[1].conv.weight)
    assert head(torch.randn(2, 16, 16, 16)).shape == (2, 3)
    with pytest.raises(InputError, match=r"unit unit, which reads \(8, 4, 4\), cannot follow .* \(5,\)"):
        LaterLayers((5,), 3, [unknown], observed)


def test_classifier():
    head = LaterLayers((16, 32, 32), 3, [SMALL[32]], observed, norm=True)
    maps = torch.randn(4, 16, 32, 32)
    pooled = head.layers(maps).flatten(2).mean(2)
    torch.testing.assert_close(head(maps), head.linear(nn.functional.batch_norm(pooled, None, None, training=True)))
    assert LaterLayers((16, 32, 32), 3, [SMALL[32]], observed).norm is None
    assert LaterLayers((9, 7), 3, [], observed)(torch.randn(2, 9, 7)).shape == (2, 3)
    assert LaterLayers((7,), 3, [], observed)(torch.randn(2, 7)).shape == (2, 3)


def test_patterns_are_only_read():
    block = resnet32().layer2[0]
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    LaterLayers((16, 32, 32), 3, [pattern((32, 16, 16), modules=(block,), in_shape=(16, 32, 32))], observed)
    assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())


def test_a_1x1_convolution_halves_by_its_stride():
    modules = (nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6))
    pattern = UnitPattern("last", (4, 3, 3), (6, 3, 3), modules, lambda: nn.Identity())
    head = LaterLayers((4, 5, 5), 3, [pattern], observed)
    assert head.layers(torch.zeros(2, 4, 5, 5)).shape == (2, 6, 3, 3)
    assert not any(isinstance(module, nn.MaxPool2d) for module in head.modules())
