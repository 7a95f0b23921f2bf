from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import torch

from locallearn.training import checkpoint, random_state
from training.tiny_runs import same_state


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


def test_cuda_states_go_to_the_devices_there_are(monkeypatch):
    states = [torch.tensor([index], dtype=torch.uint8) for index in range(3)]
    held = dict(enumerate(states))
    present = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        get_rng_state_all=lambda: states,
        set_rng_state=lambda state, device: held.__setitem__(device, state + 10),
    )
    monkeypatch.setattr(torch, "cuda", present)
    random_state.restore(random_state.captured())
    assert same_state(held, {0: states[0] + 10, 1: states[1] + 10, 2: states[2]})


def test_deterministic_settings_return():
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    with random_state.deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    with random_state.deterministic(False):
        assert torch.are_deterministic_algorithms_enabled() is before[0]
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before
