"""One run counts what several runs of simpler meters count."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import locallearn as ll
from locallearn.planning.bytes_alive import peak_bytes
from locallearn.planning.step_meter import BATCH, KINDS, StepMeter, measure
from locallearn.planning.steps import LocalStep, PlainStep
from small_networks import residual

MIB = 2**20


def local_step(method, **settings):
    network = residual(6, 16, dtype=torch.float32)
    blocks = ll.partition(network, torch.zeros(2, 3, 16, 16), num_blocks=7)
    return LocalStep(ll.LocalModel(blocks, method, ll.Classification(3)), **settings)


def batch():
    return torch.zeros(64, 3, 16, 16), torch.zeros(64, dtype=torch.long)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ["dgl", "mlaan", "dgl+man", "backprop"])
def test_peak_and_operations_are_those_of_the_second_real_step(name, optimizer):
    real = local_step(ll.method(name), optimizer=optimizer)
    expected = peak_bytes(lambda: real(*batch()), real.held)
    with FlopCounterMode(display=False) as counter:
        real(*batch())
    with FakeTensorMode():
        fake = local_step(ll.method(name), optimizer=optimizer)
        found = measure(lambda _: fake(*batch()), fake.module, fake.optimizer)
    assert found.peak.total == expected
    assert found.total_flops == counter.get_total_flops()


def test_every_byte_belongs_to_something():
    with FakeTensorMode():
        step = PlainStep(nn.Linear(256, 256), nn.functional.cross_entropy)

        def whole(meter):
            inputs, targets = torch.zeros(1024, 256), torch.zeros(1024, dtype=torch.long)
            meter.label(BATCH, (inputs, targets))
            step(inputs, targets)

        found = measure(whole, step.module, step.optimizer)
    weights = 4 * (256 * 256 + 256)
    most = {kind: max(moment.held[place] for moment in found.moments) for place, kind in enumerate(KINDS)}
    assert most["parameters"] == most["optimizer state"] == most["gradients"] == weights
    assert most["buffers"] == 0
    assert most["batch"] == MIB + 1024 * 8
    assert 3 * MIB <= most["activations"] < 3 * MIB + 100
    assert found.total_flops == 2 * 2 * 1024 * 256 * 256


def test_parameters_without_gradient_have_no_state():
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, inputs):
            return self.used(inputs)

    with FakeTensorMode():
        step = PlainStep(Partly(), nn.functional.cross_entropy)
        found = measure(
            lambda _: step(torch.zeros(4, 8), torch.zeros(4, dtype=torch.long)), step.module, step.optimizer
        )
    weights = 4 * (64 + 8)
    assert found.peak.held[KINDS.index("parameters")] == 2 * weights
    assert found.peak.held[KINDS.index("optimizer state")] == weights


def test_parts_and_thinning():
    meter = StepMeter()
    with meter:
        meter.part = 0
        small = torch.zeros(MIB // 4)
        meter.part = 1
        torch.zeros(MIB // 2)
        del small
        meter.part = None
        for _ in range(100):
            torch.zeros(10)
    found = meter.measurement()
    assert (found.peak_of(0), found.peak_of(1), found.peak_of(2)) == (MIB, 3 * MIB, 0)
    assert found.peak.part == 1
    thin = found.thinned(10)
    assert len(thin) <= 12 and found.peak in thin
    assert [moment.operator for moment in thin] == sorted(moment.operator for moment in thin)
