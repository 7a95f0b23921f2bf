from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import locallearn as ll
from locallearn.engine.gradient_flow import seed
from locallearn.engine.lean_backward import LeanBackward
from locallearn.planning.bytes_alive import BytesAlive
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
    sizes = [9] * next((3 for m in module.modules() if isinstance(m, nn.Conv3d)), 2)
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


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("frozen", ["convolutions", "norms", "all", "first"])
def test_frozen_layers(frozen, recompute):
    torch.manual_seed(0)
    module = Residual().double()
    kinds = {"convolutions": nn.Conv2d, "norms": nn.BatchNorm2d, "all": nn.Module, "first": nn.Conv2d}[frozen]
    for each in [module.conv1] if frozen == "first" else module.modules():
        if isinstance(each, kinds):
            each.requires_grad_(False)
    assert_lean_is_plain(module, inputs_for(module), recompute=recompute)


@pytest.mark.parametrize("recompute", [False, True])
def test_evaluation_a_single_sample_and_no_gradient_are_left_alone(recompute):
    module = conv_block().double().eval()
    assert_lean_is_plain(module, inputs_for(module), recompute=recompute)
    with LeanBackward(recompute=recompute), torch.no_grad():
        assert torch.equal(module(inputs_for(module)), deepcopy(module)(inputs_for(module)))
    with LeanBackward(recompute=recompute), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(3)(torch.ones(1, 3, requires_grad=True))


@pytest.mark.parametrize("recompute", [False, True])
def test_hooks_see_what_they_would_see(recompute):
    def seen(context=None):
        module, found = deepcopy(plain), []
        for each in module:
            each.register_full_backward_hook(lambda m, inner, outer: found.extend([*inner, *outer]))
        module[0].register_forward_hook(lambda m, args, y: y * 2)
        taken(module, x, context)
        hooked = deepcopy(plain)
        hooked[1].register_forward_hook(lambda m, args, y: y.register_hook(found.append) and None)
        hooked[2].register_forward_hook(lambda m, args, y: y.register_hook(lambda g: found.append(g[:1])) and None)
        taken(hooked, x, context)
        return found

    torch.manual_seed(0)
    plain = conv_block(inplace=False).double()
    x = inputs_for(plain)
    torch.testing.assert_close(seen(LeanBackward(recompute=recompute)), seen(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_second_pass_through_a_kept_graph_and_passes_to_chosen_tensors(recompute):
    def slopes(context):
        module = deepcopy(plain)
        h = x.clone().requires_grad_()
        with context:
            y = module(h)
        torch.autograd.backward(y.square().sum(), inputs=[h], retain_graph=True)
        assert not gradients(module)
        torch.autograd.backward(y.square().sum(), inputs=list(module.parameters()), retain_graph=True)
        own = torch.autograd.grad(y.square().sum(), [module[0].weight, h], retain_graph=True)
        return [h.grad, *gradients(module).values(), *own]

    torch.manual_seed(0)
    plain = conv_block().double()
    x = inputs_for(plain)
    expected = slopes(nullcontext())
    torch.testing.assert_close(slopes(LeanBackward(recompute=recompute)), expected, rtol=1e-12, atol=1e-12)


def test_only_first_derivatives_can_be_taken():
    module = conv_block().double()
    x = inputs_for(module).requires_grad_()
    with LeanBackward(recompute=True):
        y = module(x)
    (slope,) = torch.autograd.grad(y.square().sum(), [x], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("recompute", [False, True])
def test_bfloat16_is_as_close_to_single_precision_as_plain(recompute, layout):
    torch.manual_seed(0)
    module = nn.Sequential(Residual(), Residual()).to(memory_format=layout)
    x = inputs_for(module, dtype=torch.float32).to(memory_format=layout)

    def rounded(context):
        with torch.autocast("cpu", torch.bfloat16):
            return taken(module, x, context)[0]

    exact, plain, lean = taken(module, x)[0], rounded(None), rounded(LeanBackward(recompute=recompute))
    assert torch.equal(lean["result"], plain["result"])
    assert {name: value.dtype for name, value in lean.items()} == {name: value.dtype for name, value in plain.items()}
    for name, value in exact.items():
        if "conv" not in name or "bias" not in name:
            assert (lean[name] - value).norm() <= 1.2 * (plain[name] - value).norm() + 1e-3 * value.norm(), name


def test_weights_cast_for_bfloat16_still_learn_afterwards():
    module = nn.Sequential(conv_block(), nn.Conv2d(4, 4, 1))
    module.append(module[0][3])
    with torch.autocast("cpu", torch.bfloat16), LeanBackward(recompute=True):
        y = module[:2](inputs_for(module, dtype=torch.float32))
        shared = F.conv2d(y.repeat(1, 2, 1, 1), module[0][3].weight)
    shared.float().sum().backward()
    assert module[0][3].weight.grad.abs().sum() > 0


def kept_bytes(module, x, context):
    with BytesAlive(x, *module.parameters(), *module.buffers()) as meter:
        before = meter.current
        with context:
            y = module(x)
        held = meter.current - before
        meter.peak = meter.current
        torch.autograd.backward(seed(y, [torch.ones_like(y)]))
    return held, meter.peak - before


@pytest.mark.parametrize("context", [nullcontext, FakeTensorMode])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_held(layout, context):
    with context():
        one = 16 * 8 * 64 * 64 * 4
        module = nn.Sequential(
            nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1, bias=False),
            nn.BatchNorm2d(8), nn.ReLU(),
        )  # fmt: skip
        x = torch.empty(16, 8, 64, 64).contiguous(memory_format=layout)
        plain, lean, again = (
            kept_bytes(module, x, how)
            for how in (nullcontext(), LeanBackward(recompute=False), LeanBackward(recompute=True))
        )
    assert [round(held / one, 2) for held, _ in (plain, lean, again)] == [4, 4, 3]
    assert [round(peak / one, 2) for _, peak in (plain, lean, again)] == [6, 5.13, 4.13]


def test_a_frozen_convolution_holds_nothing():
    module = nn.Conv2d(8, 8, 3).requires_grad_(False)
    x = torch.ones(4, 8, 32, 32, requires_grad=True)
    with LeanBackward(recompute=True), BytesAlive(x, *module.parameters()) as meter:
        before = meter.current
        y = module(x * 2)
        held = meter.current - before
    assert held == y.numel() * 4
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * torch.autograd.grad(module(x).sum(), [x])[0])


@pytest.mark.parametrize("recompute", [False, True])
def test_equal_layers_run_together_by_vmap(recompute):
    def layers(x, scale, kernel):
        return F.conv2d(torch.relu(F.batch_norm(F.conv2d(x, kernel), None, None, scale, scale, True)), kernel)

    torch.manual_seed(0)
    shapes = (3, 4, 2, 5, 5), (3, 2), (3, 2, 2, 1, 1)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    expected = torch.autograd.grad(vmap(layers)(*given).square().sum(), given)
    with LeanBackward(recompute=recompute):
        together = vmap(layers)(*given)
    torch.testing.assert_close(torch.autograd.grad(together.square().sum(), given), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("geometry", [(2, 1, 1), (3, 0, 1), (1, 2, 2), (2, 1, 3)])
def test_the_gradient_of_the_input_of_a_frozen_convolution_needs_its_shape_alone(geometry):
    stride, padding, dilation = geometry
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, stride, padding, dilation, groups=2).double().requires_grad_(False)
    assert_lean_is_plain(module, torch.randn(2, 4, 12, 11, dtype=torch.float64), recompute=True)


def test_what_a_pass_does_not_ask_for_is_not_computed():
    module, x = conv_block(), torch.randn(4, 4, 9, 9, requires_grad=True)
    counts = []
    for context in (nullcontext(), LeanBackward(recompute=True)):
        with context:
            y = module(x)
        with FlopCounterMode(display=False) as counter:
            torch.autograd.backward(y.sum(), inputs=[x])
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


class Checkpointed(nn.Module):
    """A network's own checkpoint, which runs again in the backward pass, where no mode is entered."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.relu(x + checkpoint(lambda values: self.norm(self.conv(values)), x, use_reentrant=False))


@pytest.mark.parametrize("recompute", ["nothing", "blocks"])
@pytest.mark.parametrize("lean", ["in_place", "recompute"])
def test_a_checkpoint_of_the_networks_own_stays_right(lean, recompute):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), Checkpointed(), Checkpointed(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 5),
    ).double()  # fmt: skip
    inputs, labels = torch.rand(6, 3, 8, 8).double(), torch.arange(6) % 5
    found = []
    for execution in (ll.Execution(), ll.Execution(lean=lean, recompute=recompute)):
        torch.manual_seed(1)
        blocks = ll.partition(deepcopy(network), inputs[:2], num_blocks=2)
        model = ll.LocalModel(blocks, ll.Backprop(), ll.Classification(5), execution=execution)
        model.local_backward(inputs, labels)
        found.append(gradients(model))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
