from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from locallearn.errors import TrainingStopped
from locallearn.training import checkpoint, random_state


def drawn():
    return random.random(), random.gauss(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))


def test_every_source_is_seeded():
    random_state.seed_everything(2**40 + 5)
    first = drawn()
    random_state.seed_everything(2**40 + 5)
    assert drawn() == first
    random_state.seed_everything(6)
    assert all(one != other for one, other in zip(drawn(), first, strict=True))


def test_every_source_goes_on_where_it_was_also_through_a_file(tmp_path):
    random_state.seed_everything(1)
    drawn()
    path = checkpoint.save(tmp_path, 1, {"random": random_state.captured()}, keep=1)
    expected = drawn(), drawn()
    drawn()
    random_state.restore(checkpoint.load(path)["random"])
    assert (drawn(), drawn()) == expected


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_states_go_to_the_devices_there_are(monkeypatch, kind):
    held = {index: torch.tensor([index], dtype=torch.uint8) for index in range(3)}

    def put(state, device):
        held[device] = state + 10

    module = SimpleNamespace(get_rng_state=held.__getitem__, set_rng_state=put)
    with_devices(monkeypatch, kind, 3, module)
    state = random_state.captured()
    with_devices(monkeypatch, kind, 2, module)
    random_state.restore(state)
    assert [int(held[index]) for index in range(3)] == [10, 11, 2]


def test_the_single_device_of_mps_has_no_index(monkeypatch):
    put = []
    module = SimpleNamespace(get_rng_state=lambda: torch.tensor([7], dtype=torch.uint8), set_rng_state=put.append)
    with_devices(monkeypatch, "mps", 1, module)
    random_state.restore(random_state.captured())
    assert [int(state) for state in put] == [7]


def with_devices(monkeypatch, kind, count, module):
    monkeypatch.setattr(torch, "get_device_module", {torch.device(kind): module}.__getitem__)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


def test_an_operator_without_a_deterministic_form_stops_with_the_remedy():
    def refused():
        return torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))

    refused()
    stopped = pytest.raises(TrainingStopped, match=r"^put_.*without --deterministic")
    with random_state.deterministic(True), stopped, random_state.determinism_explained():
        refused()
    with pytest.raises(RuntimeError, match="a bug"), random_state.determinism_explained():
        raise RuntimeError("a bug")


def test_deterministic_settings_return():
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    with random_state.deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    with random_state.deterministic(False):
        assert torch.are_deterministic_algorithms_enabled() is before[0]
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before
