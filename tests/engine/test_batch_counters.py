"""Counters moved together hold what counters moved one by one hold."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim
from torch.utils._python_dispatch import TorchDispatchMode

import locallearn as ll
from conformance.models import METHODS, assert_same
from engine.test_step_in_backward import batch
from small_networks import stack


class Calls(TorchDispatchMode):
    """Counts additions to whole numbers."""

    def __init__(self):
        super().__init__()
        self.single = self.together = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        whole = bool(args) and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.int64
        self.single += whole and func.overloadpacket is torch.ops.aten.add_
        self.together += func.overloadpacket is torch.ops.aten._foreach_add_
        return func(*args, **(kwargs or {}))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(torch.relu(self.norm(x)))) + x)


def network():
    made = stack([4, 4, 4, 4], dtype=torch.float32)
    made.relu1 = Twice()
    made.norm2 = nn.BatchNorm2d(4, momentum=None)
    made.norm3.eval()
    return made


def model_of(method, **execution):
    torch.manual_seed(0)
    blocks = ll.partition(network(), torch.zeros(2, 3, 8, 8), num_blocks=4)
    kind = ll.method(method, **METHODS.get(method, {}))
    model = ll.LocalModel(blocks, kind, ll.Classification(3), execution=ll.Execution(**execution))
    return model


def train(model, steps):
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        model.local_backward(*batch(step))
        optimizer.step()
        model.after_step()
        optimizer.zero_grad()
    return model.state_dict()


@pytest.mark.parametrize("how", [{}, {"recompute": "blocks"}, {"lean": "in_place"}, {"group_heads": True}])
@pytest.mark.parametrize("method", ["dgl", "dgl+man", "infopro+man_code", "mlaan"])
def test_every_counter_and_weight_is_the_same(method, how):
    each, together = (train(model_of(method, count_batches=when, **how), 3) for when in ("each", "together"))
    assert_same(together, each)
    counted = {int(value) for name, value in each.items() if name.endswith("num_batches_tracked")}
    assert {0, 3, 6} <= counted


def test_one_operation_takes_the_place_of_many():
    found = []
    for how in ("each", "together"):
        model = model_of("dgl", count_batches=how)
        with Calls() as calls:
            model.local_backward(*batch(0))
        found.append((calls.single, calls.together))
    (single, none), (few, one) = found
    assert (none, few, one) == (0, 1, 1) and single > few


def test_after_an_exception_counters_are_tensors_again(monkeypatch):
    model = model_of("dgl", count_batches="together")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(model.objectives[2], "parts", lambda *_: 1 / 0)
        model.local_backward(*batch(0))
    assert int(model.network.norm0.num_batches_tracked) == 1
    assert all(isinstance(buffer, torch.Tensor) for buffer in model.buffers())


def test_compiled_modules_count_for_themselves():
    with pytest.raises(ll.InputError, match="count_batches='each' or compile=False"):
        ll.Execution(count_batches="together", compile=True)
