from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from locallearn.datasets import load, registry
from training import tiny_maps as maps_module


@pytest.fixture(autouse=True, scope="session")
def loaded():
    """What a first run imports on its way, so that forked children need not."""
    load("digits")
    parameter = torch.zeros(1, requires_grad=True)
    torch.optim.SGD([parameter], lr=0.1).step()


@pytest.fixture(autouse=True, scope="session")
def tiny_maps():
    """A data set of samples under the name `tiny_maps`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODULES, "tiny_maps", maps_module)
        patch.setitem(registry.SPECS, "tiny_maps", maps_module.SPEC)
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """Forked children must not meet a pool of threads that they did not inherit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def counted_peaks():
    """Peaks as a count would give them, without the count."""

    def step_cost(recipe, spec):
        return SimpleNamespace(peak_bytes=2000 if recipe.method.name == "backprop" else 1000)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "locallearn.training.step_cost", SimpleNamespace(step_cost=step_cost))
        yield
