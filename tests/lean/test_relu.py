from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.lean.relu import lean_relu


@pytest.mark.parametrize("in_place", [True, False])
def test_equal_to_relu_also_in_its_gradient(in_place):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(3)
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    expected = torch.autograd.grad(conv(torch.relu(norm(x))).square().sum(), [x, *conv.parameters()])
    found = torch.autograd.grad(conv(lean_relu(norm(x), in_place=in_place)).square().sum(), [x, *conv.parameters()])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_zero_lets_no_gradient_through_and_nan_does():
    values = torch.tensor([0.0, -1.0, 2.0, float("nan")], requires_grad=True)
    (lean_relu(values * 1) * torch.ones(4)).sum().backward()
    assert values.grad.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_nothing_is_allocated():
    places = []
    values = torch.randn(8, requires_grad=True)
    doubled = values * 2
    doubled.register_hook(lambda gradient: places.append(gradient.data_ptr()))
    result = lean_relu(doubled)
    assert result.data_ptr() == doubled.data_ptr()
    result.register_hook(lambda gradient: places.append(gradient.data_ptr()))
    (result * torch.ones(8)).sum().backward()
    assert places[0] == places[1]


def test_a_gradient_of_the_caller_is_left_alone():
    gradient = torch.ones(8)
    lean_relu(torch.randn(8, requires_grad=True) * 1).backward(gradient)
    assert gradient.tolist() == [1.0] * 8
