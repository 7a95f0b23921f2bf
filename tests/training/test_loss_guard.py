from __future__ import annotations

import pytest
import torch

from locallearn import Window
from locallearn.errors import TrainingStopped
from locallearn.training.loss_guard import READ_EVERY, LossGuard, described

WINDOWS = [Window(0, 1), Window(1, 2), Window(0, 3)]
FINE = torch.zeros(3)


def test_on_the_cpu_every_step_is_read():
    guard = LossGuard(WINDOWS, torch.device("cpu"))
    guard.watch(FINE, 1)
    with pytest.raises(TrainingStopped, match="The loss of block 1 is NaN or infinite at step 2"):
        guard.watch(torch.tensor([0.0, float("nan"), 0.0]), 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_elsewhere_the_first_bad_step_is_remembered_and_read_later(bad):
    guard = LossGuard(WINDOWS, torch.device("cpu"))
    guard.every = READ_EVERY
    guard.watch(torch.tensor([0.0, 0.0, bad]), 3)
    guard.watch(torch.tensor([bad, 0.0, bad]), 4)
    with pytest.raises(TrainingStopped, match="The loss of blocks 0 to 2 is NaN or infinite at step 3"):
        guard.check()
    for step in range(5, READ_EVERY):
        guard.watch(FINE, step)
    with pytest.raises(TrainingStopped, match="at step 3"):
        guard.watch(FINE, READ_EVERY)


def test_windows_in_words():
    assert [described(window) for window in WINDOWS] == ["block 0", "block 1", "blocks 0 to 2"]
