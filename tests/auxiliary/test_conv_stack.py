from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.auxiliary.conv_stack import ConvStack, matching_multiplier, stack_macs
from locallearn.auxiliary.forward_macs import forward_macs


def test_layers_are_those_of_the_ablation():
    head = ConvStack((32, 16, 16), 10, convolutions=6)
    convs = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, conv.kernel_size, conv.bias) for conv in convs] == [
        (32, 32, (3, 3), None)
    ] * 6
    assert [type(module) for module in head.convs[0]] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    maps = torch.randn(2, 32, 16, 16)
    slow = nn.functional.avg_pool2d(maps, 4)
    for conv in head.convs:
        slow = conv(slow)
        assert slow.shape[2:] == (4, 4)
    torch.testing.assert_close(head(maps), head.linear(slow.flatten(2).mean(2)))
    torch.testing.assert_close(convs[0].weight.std(), torch.tensor((2 / (9 * 32)) ** 0.5), rtol=0.05, atol=0)


@pytest.mark.parametrize(("shape", "rows", "columns"), [((8, 7, 5), 2, 2), ((8, 9, 16), 3, 4), ((3, 1, 1), 1, 1)])
def test_sides_are_rounded_up(shape, rows, columns):
    head = ConvStack(shape, 4, convolutions=2, multiplier=1.5)
    assert head.size == (rows, columns)
    assert head(torch.randn(3, *shape)).shape == (3, 4)


@pytest.mark.parametrize("shape", [(16, 32, 32), (6, 7, 5), (12,)])
@pytest.mark.parametrize("multiplier", [0.01, 1.0, 2.3])
def test_counted_cost_is_that_of_the_module(shape, multiplier):
    def build():
        return ConvStack(shape, 10, convolutions=3, multiplier=multiplier)

    assert build()(torch.randn(2, *shape)).shape == (2, 10)
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        macs += module.weight[0].numel() * output[0].numel()

    head = build()
    for module in head.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    head.eval()(torch.randn(1, *shape))
    assert stack_macs(shape, 10, convolutions=3, multiplier=multiplier) == forward_macs(build, shape) == macs


def test_matching_multiplier_hits_a_reachable_cost_and_comes_near_to_others():
    shapes = [(16, 32, 32)] * 19 + [(32, 16, 16)] * 18 + [(64, 8, 8)] * 15
    for wanted in (0.5, 1.0, 3.7):
        target = sum(stack_macs(shape, 10, convolutions=3, multiplier=wanted) for shape in shapes)
        _, found = matching_multiplier(shapes, 10, convolutions=3, target=target)
        assert found == target
    factor, found = matching_multiplier(shapes, 10, convolutions=3, target=371_000_000)
    assert abs(found / 371_000_000 - 1) < 0.01
    assert found == sum(stack_macs(shape, 10, convolutions=3, multiplier=factor) for shape in shapes)


def test_counting_uses_no_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    forward_macs(lambda: ConvStack((8, 8, 8), 3, convolutions=2), (8, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)
