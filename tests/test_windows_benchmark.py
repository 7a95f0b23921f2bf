"""The plain way of overlapping windows: same gradients, more operations."""

from __future__ import annotations

import pytest
import torch
from benchmarks.windows import flops, models, recomputing_backward

import locallearn as ll


@pytest.mark.parametrize(
    ("method", "most"),
    [
        (ll.MLAAN(), 0.80),
        (ll.MLAAN(leap="none"), 0.55),
        pytest.param(ll.MLAAN(cascade=3), 0.80, marks=pytest.mark.slow),
        pytest.param(ll.MLAAN(cascade=3, leap="none"), 0.55, marks=pytest.mark.slow),
        pytest.param(ll.MLAAN(ll.DGL(), leap="both", first_blocks="independent"), 1.0, marks=pytest.mark.slow),
    ],
)
def test_fewer_operations_for_the_same_gradients(method, most):
    torch.manual_seed(0)
    network = ll.networks.build("resnet32", 10).double()
    inputs, targets = torch.rand(3, 3, 32, 32, dtype=torch.float64), torch.randint(10, (3,))
    ours, plain = models(network, 15, method, inputs)
    counted = flops(lambda: ours.local_backward(inputs, targets))
    assert counted <= most * flops(lambda: recomputing_backward(plain, inputs, targets))
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-10)
