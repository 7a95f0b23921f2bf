"""Blocks that wait on the host change memory and nothing else; a CPU's own memory stands in for a device."""

from __future__ import annotations

import itertools
from copy import deepcopy

import pytest
import torch
from torch import nn, optim
from torch._subclasses.fake_tensor import FakeTensorMode

import locallearn as ll
from conformance.models import assert_same
from engine.test_step_in_backward import KINDS, assert_equal_optimizers, batch, model_of, model_with_shared_end, plain
from locallearn.engine.host_copies import HostCopies
from locallearn.planning.bytes_alive import BytesAlive
from small_networks import residual

METHODS = ["dgl", "man", "mlaan", "infopro", "man before the step", "shared end"]


def made(method, device="cpu"):
    if method == "shared end":
        return model_with_shared_end().to(device)
    kind = ll.MAN(update="before_step") if method == "man before the step" else ll.method(method)
    return model_of(kind).to(device)


def train(model, listener, steps, *, device="cpu", first=0):
    for step in range(first, first + steps):
        inputs, labels = (tensor.to(device) for tensor in batch(step))
        model.local_backward(inputs, labels, listener=listener)
        model.after_step()


@pytest.fixture
def on_device(monkeypatch):
    """Counts the bytes of what was copied to the device and is alive there, forgetting what went back."""
    meter = BytesAlive()
    to_device, to_host = HostCopies.to_device, HostCopies.to_host

    def counted(self, tensors):
        found = to_device(self, tensors)
        for tensor in found:
            meter._see(tensor)
        return found

    def spoiled(self, tensors, buffers):
        found = to_host(self, tensors, buffers)
        for tensor, copy in zip(tensors, found, strict=True):
            assert tensor.data_ptr() != copy.data_ptr()
            if tensor.is_floating_point():
                tensor.detach().fill_(float("nan"))
        return found

    monkeypatch.setattr(HostCopies, "to_device", counted)
    monkeypatch.setattr(HostCopies, "to_host", spoiled)
    return meter


@pytest.mark.parametrize("kind", ["sgd", "fused adamw"])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_weights_after_20_steps(method, kind, on_device):
    there, ours = made(method), made(method)
    listeners = []
    for model in (there, ours):
        listeners.append(ll.StepInBackward(model, KINDS[kind](model.parameters())))
    train(there, listeners[0], 20)
    objects, names = list(ours.parameters()), list(ours.state_dict())
    offload = ll.Offload(listeners[1])
    train(ours, offload, 20)
    assert on_device.peak > 0 and on_device.current == 0
    assert_same(ours.state_dict(), there.state_dict())
    assert_equal_optimizers(*(plain(listener.optimizer) for listener in listeners))
    assert all(one is other for one, other in zip(objects, ours.parameters(), strict=True))
    assert names == list(ours.state_dict())


def sizes(model, copies_of_each):
    """Bytes of every block with its objective and their optimizer state."""
    blocks = [model.window_parameters(index) for index in range(len(model.windows))]
    return [sum(p.numel() * p.element_size() for p in block) * copies_of_each for block in blocks]


def uneven():
    torch.manual_seed(0)
    widths = (16, 64, 160, 96, 192, 32, 3)
    network = nn.Sequential(*itertools.starmap(nn.Linear, itertools.pairwise(widths)))
    blocks = ll.partition(network, torch.zeros(2, 16), num_blocks=5)
    return ll.LocalModel(blocks, ll.DGL(head="linear"), ll.Classification(3))


@pytest.mark.parametrize(("kind", "copies"), [("sgd", 2), ("fused adamw", 3)])
def test_at_most_the_two_largest_blocks_are_on_the_device(kind, copies, on_device):
    model = uneven()
    optimizer = KINDS[kind](model.parameters())
    offload = ll.Offload(ll.StepInBackward(model, optimizer))
    inputs, labels = torch.rand(6, 16), torch.arange(6) % 3
    for _ in range(3):
        model.local_backward(inputs, labels, listener=offload)
    ordered = sorted(sizes(model, copies))
    assert ordered[-1] < on_device.peak <= ordered[-1] + ordered[-2] + 64 < sum(ordered) / 1.5
    assert on_device.current == 0


def test_what_comes_next_is_fetched_before_it_is_needed(monkeypatch):
    model = uneven()
    offload = ll.Offload(ll.StepInBackward(model, KINDS["sgd"](model.parameters())))
    late = []

    class Watching(ll.Offload):
        def _enter(self, stage, *, ahead):
            late.extend(p for p in self._stages[stage] if stage != ("block", 0) and p not in self._present)
            super()._enter(stage, ahead=ahead)

    monkeypatch.setattr(offload, "__class__", Watching)
    model.local_backward(torch.rand(6, 16), torch.arange(6) % 3, listener=offload)
    assert not late


def test_overlapping_windows_keep_a_block_until_its_last(on_device):
    model = made("mlaan")
    offload = ll.Offload(ll.StepInBackward(model, KINDS["sgd"](model.parameters())))
    train(model, offload, 1)
    settled = offload.stepping.settled
    assert not set(model.block_parameters(1)) <= set(settled[1])
    assert not any(torch.isnan(parameter).any() for parameter in model.parameters())


def test_everything_is_readable_and_loadable_between_steps(on_device):
    model = made("man")
    optimizer = KINDS["fused adamw"](model.parameters())
    offload = ll.Offload(ll.StepInBackward(model, optimizer))
    train(model, offload, 2)
    state, moments = deepcopy(model.state_dict()), deepcopy(optimizer.state_dict())
    train(model, offload, 2, first=2)
    end = deepcopy(model.state_dict())
    other = made("man")
    fresh = KINDS["fused adamw"](other.parameters())
    again = ll.Offload(ll.StepInBackward(other, fresh))
    other.load_state_dict(state)
    fresh.load_state_dict(moments)
    train(other, again, 2, first=2)
    assert_same(other.state_dict(), end)


def test_resident_brings_everything_and_sends_it_back(on_device):
    model = made("dgl")
    offload = ll.Offload(ll.StepInBackward(model, KINDS["sgd"](model.parameters())))
    train(model, offload, 1)
    inputs = batch(5)[0]
    host = {p.data_ptr() for p in model.parameters()}
    expected = deepcopy(model)(inputs)
    with offload.resident():
        whole = on_device.current
        assert not host & {p.data_ptr() for p in model.parameters()}
        with offload.resident():
            assert on_device.current == whole
        assert on_device.current == whole
        assert torch.equal(model(inputs), expected)
    assert on_device.current == 0
    assert host == {p.data_ptr() for p in model.parameters()}
    train(model, offload, 1)


@pytest.mark.parametrize("method", ["dgl", "mlaan"])
def test_after_an_exception_in_a_step_training_goes_on(method, monkeypatch, on_device):
    model = made(method)
    offload = ll.Offload(ll.StepInBackward(model, KINDS["sgd"](model.parameters())))
    train(model, offload, 1)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(model.objectives[2], "parts", lambda *_: 1 / 0)
        train(model, offload, 1)
    assert not any(torch.isnan(parameter).any() for parameter in model.parameters())
    twin = made(method)
    twin.load_state_dict(model.state_dict())
    optimizer = KINDS["sgd"](twin.parameters())
    optimizer.load_state_dict(deepcopy(offload.stepping.optimizer.state_dict()))
    train(twin, ll.StepInBackward(twin, optimizer), 2)
    train(model, offload, 2)
    assert_same(model.state_dict(), twin.state_dict())
    assert on_device.current == 0


def test_fake_tensors_are_refused():
    with FakeTensorMode():
        model = model_of(ll.DGL())
        stepping = ll.StepInBackward(model, optim.SGD(model.parameters()))
        with pytest.raises(ll.InputError, match="Fake tensors are nowhere"):
            ll.Offload(stepping)


def test_heads_that_run_together_are_refused():
    blocks = ll.partition(residual(3, dtype=torch.float32), torch.zeros(2, 3, 8, 8), num_blocks=4)
    execution = ll.Execution(group_heads=True)
    model = ll.LocalModel(blocks, ll.DGL(), ll.Classification(3), execution=execution)
    with pytest.raises(ll.InputError, match="leave it off, or do not offload"):
        ll.Offload(ll.StepInBackward(model, optim.SGD(model.parameters())))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_same_weights_on_a_device(method, kind):
    there, ours = made(method, "cuda"), made(method, "cuda")
    listeners = [ll.StepInBackward(model, KINDS[kind](model.parameters())) for model in (there, ours)]
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        train(there, listeners[0], 20, device="cuda")
        offload = ll.Offload(listeners[1])
        train(ours, offload, 20, device="cuda")
    assert {p.device.type for p in ours.parameters()} == {"cpu"}
    assert_same({k: v.cpu() for k, v in ours.state_dict().items()}, {k: v.cpu() for k, v in there.state_dict().items()})


@pytest.mark.gpu
def test_a_device_holds_nothing_between_steps():
    model = uneven().to("cuda")
    offload = ll.Offload(ll.StepInBackward(model, KINDS["sgd"](model.parameters())))
    inputs, labels = torch.rand(6, 16, device="cuda"), torch.arange(6, device="cuda") % 3
    model.local_backward(inputs, labels, listener=offload)
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    with offload.resident():
        assert torch.cuda.memory_allocated() > held + sum(sizes(model, 2)) - 1
    assert all(parameter.is_pinned() for parameter in model.parameters())
