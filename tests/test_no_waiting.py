"""No step reads a value from the device: tensors without values stand in for those of an accelerator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, optim
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import locallearn as ll
from conformance.models import METHODS
from small_networks import stack

aten = torch.ops.aten
WAITING = {aten._local_scalar_dense, aten.nonzero, aten.equal, aten.masked_select, aten._unique2}
NORMALIZATION = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


class NoWaiting(TorchDispatchMode):
    """Raises where values would have to cross between host and device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert func.overloadpacket not in WAITING, func
        given, made = (self._devices(values) for values in ((args, kwargs), result))
        crossing = given and made and given != made
        assert not crossing, f"{func} from {given} to {made}"
        return result

    @staticmethod
    def _devices(values):
        tensors = [value for value in pytree.tree_leaves(values) if isinstance(value, Tensor)]
        return {tensor.device.type for tensor in tensors if tensor.dim() > 0 or tensor.device.type != "cpu"}


def from_the_host(*_, **__):
    raise AssertionError("values from the host in a step")


def on_meta(method):
    torch.manual_seed(0)
    network = stack([4, 4, 4, 4], dtype=torch.float32)
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8), num_blocks=4)
    kind = ll.method(method, **METHODS[method])
    return ll.LocalModel(blocks, kind, ll.Classification(3), normalization=NORMALIZATION).to("meta")


def train(model, listener, optimizer, steps):
    inputs = torch.empty(6, 3, 8, 8, device="meta")
    targets = torch.empty(6, dtype=torch.long, device="meta")
    for _ in range(steps):
        model.local_backward(inputs, targets, listener=listener, keep_logits=True)
        if listener is None:
            optimizer.step()
        model.after_step()
        optimizer.zero_grad()


@pytest.mark.parametrize("method", METHODS)
def test_no_step_after_the_first_waits_for_the_device(method, monkeypatch):
    model = on_meta(method)
    model._range_checked = True
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)
    stepping = ll.StepInBackward(model, optimizer)
    train(model, stepping, optimizer, 1)
    for owner, name in ((Tensor, "new_tensor"), (torch, "tensor"), (torch, "as_tensor")):
        monkeypatch.setattr(owner, name, from_the_host)
    with NoWaiting():
        train(model, stepping, optimizer, 2)


def test_what_waits_is_noticed():
    values = torch.empty(3, device="meta")
    with NoWaiting():
        for waits in (lambda: values.copy_(torch.zeros(3)), lambda: torch.nonzero(torch.zeros(3))):
            with pytest.raises(AssertionError):
                waits()
