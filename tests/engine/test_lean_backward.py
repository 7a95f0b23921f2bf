from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from locallearn.engine.lean_backward import LeanBackward
from small_networks import gradients


def conv_block(dims=2, *, inplace=True, affine=True, groups=1, act=True, **how):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    middle = [nn.ReLU(inplace=inplace)] if act else []
    return nn.Sequential(
        conv(4, 8, 3, padding=1), norm(8, affine=affine), *middle, conv(8, 4, 3, groups=groups, **how), norm(4)
    )


class PreActivation(nn.Module):
    """Norm and ReLU first; what they make is read by the convolution and by the shortcut."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.conv0, self.conv1, self.conv2 = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(3))

    def forward(self, x):
        x = self.conv0(x)
        activated = F.relu(self.norm1(x))
        return self.conv2(torch.relu(self.norm2(self.conv1(activated)))) + activated + x


class Repeated(nn.Module):
    """Norm, ReLU and convolution are called twice."""

    def __init__(self):
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        for _ in range(2):
            x = self.conv(self.relu(self.norm(self.conv(x))))
        return x


class Residual(nn.Module):
    """The block's last ReLU reads a sum, and the shortcut has a norm of its own."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.short = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm2d(4) for _ in range(3))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += self.norm3(self.short(x))
        return self.relu(y)


class Changed(nn.Module):
    """What BatchNorm made is changed in place before a convolution reads it."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.norm = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.conv2(self.norm(self.conv1(x)).mul_(2))


class Branching(nn.Module):
    """Two convolutions, a pool and a sum read the same activation; weights are used by function calls."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.conv3 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = torch.relu(self.norm(self.conv1(x)))
        wide = F.conv2d(input=y, weight=self.conv2.weight, bias=self.conv2.bias, padding="same")
        return wide + F.conv2d(y, self.conv3.weight, bias=None) + F.avg_pool2d(y, 3, 1, 1) + y


MODULES = {
    "plain": conv_block,
    "relu not in place": lambda: conv_block(inplace=False),
    "norm alone": lambda: conv_block(act=False),
    "no weight": lambda: conv_block(affine=False),
    "stride": lambda: conv_block(stride=2, padding=1, dilation=2),
    "groups": lambda: conv_block(groups=4, bias=False),
    "1d": lambda: conv_block(1),
    "3d": lambda: conv_block(3),
    "pre-activation": PreActivation,
    "repeated": Repeated,
    "residual": Residual,
    "two residuals": lambda: nn.Sequential(Residual(), Residual(), nn.BatchNorm2d(4)),
    "changed": Changed,
    "branching": Branching,
    "no momentum": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=None), nn.ReLU()),
    "no running": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()),
}


def inputs_for(module, *, batch=4, dtype=torch.float64):
    sizes = [1] * 0 + [9] * next((3 for m in module.modules() if isinstance(m, nn.Conv3d)), 2)
    sizes = [9] if any(isinstance(m, nn.Conv1d) for m in module.modules()) else sizes
    torch.manual_seed(1)
    return torch.randn(batch, 4, *sizes, dtype=dtype)


def taken(module, x, context=None):
    """Result, gradients of input and parameters, and buffers after one pass."""
    module = deepcopy(module)
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    if context is None:
        y = module(x)
    else:
        with context:
            y = module(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).square().sum().backward()
    return {"result": y.detach(), "input": x.grad, **gradients(module)}, dict(module.named_buffers())


def assert_lean_is_plain(module, x, *, recompute, tolerance=1e-12):
    expected, buffers = taken(module, x)
    found, moved = taken(module, x, LeanBackward(recompute=recompute))
    assert found.keys() == expected.keys()
    assert torch.equal(found["result"], expected["result"])
    for name, value in expected.items():
        assert (found[name] - value).norm() <= tolerance * value.norm().clamp(min=1), name
    assert all(torch.equal(moved[name], value) for name, value in buffers.items())


@pytest.fixture(params=["whole", "cut"])
def parts(request, monkeypatch):
    """Small tensors are left whole unless told otherwise."""
    if request.param == "cut":
        monkeypatch.setattr("locallearn.lean.overwriting._WORTH_CUTTING", 1)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_gradients_and_statistics_are_plain_ones(name, recompute, layout):
    torch.manual_seed(0)
    module = MODULES[name]().double()
    for each in module.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.affine:
            nn.init.normal_(each.weight)
            nn.init.normal_(each.bias)
    x = inputs_for(module)
    if layout == torch.channels_last and x.ndim == 4:
        module, x = module.to(memory_format=layout), x.to(memory_format=layout)
    assert_lean_is_plain(module, x, recompute=recompute)
