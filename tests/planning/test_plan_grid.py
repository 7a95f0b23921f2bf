"""Plans against steps on real tensors, over networks and methods; and against the allocator of a CUDA device."""

from __future__ import annotations

import functools

import pytest
import torch

import locallearn as ll
from locallearn.planning.bytes_alive import peak_bytes
from locallearn.planning.steps import LocalStep

METHODS = ["backprop", "dgl", "predsim", "infopro", "auglocal", "dgl+man", "mlaan", "infopro+man", "infopro+mlaan"]
NETWORKS = {
    "resnet32": ((3, 32, 32), 16),
    "resnet110": ((3, 32, 32), 8),
    "torchvision:resnet50": ((3, 64, 64), 4),
    "torchvision:vit_b_16": ((3, 224, 224), 2),
}
IMAGES = ((0.5,) * 3, (0.25,) * 3)


def plan_and_step(name, method, batch, device="cpu", **settings):
    shape = NETWORKS[name][0]
    build = functools.partial(ll.networks.constructor(name), 10)
    plan = ll.plan(build, shape, batch_size=batch, method=method, normalization=IMAGES, device=device, **settings)
    with torch.device(device):
        blocks = ll.partition(build(), torch.zeros(2, *shape), num_blocks=plan.units)
        step = LocalStep(ll.LocalModel(blocks, method, ll.Classification(10), normalization=IMAGES), **settings)

    def whole():
        inputs = torch.zeros(batch, *shape, device=device)
        step(inputs, torch.zeros(batch, dtype=torch.long, device=device))

    return plan, step, whole


CASES = [(name, method) for name in NETWORKS for method in METHODS]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), CASES)
def test_within_three_percent_of_real_tensors(name, method):
    plan, step, whole = plan_and_step(name, ll.method(method), NETWORKS[name][1])
    real = peak_bytes(whole, step.held)
    print(f"{name} {method}: planned {plan.peak_bytes}, real {real}, ratio {plan.peak_bytes / real:.5f}")
    assert plan.peak_bytes == pytest.approx(real, rel=0.03)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "method"), CASES)
def test_within_ten_percent_of_the_allocator(name, method):
    plan, _, whole = plan_and_step(name, ll.method(method), 128, device="cuda")
    for _ in range(3):
        whole()
    torch.cuda.reset_peak_memory_stats()
    whole()
    assert plan.peak_bytes == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.1)
