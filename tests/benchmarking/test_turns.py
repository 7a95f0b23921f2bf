from __future__ import annotations

import pytest
import torch

from locallearn.benchmarking import turns
from locallearn.benchmarking.turns import in_turns, ratios, timed

CPU = torch.device("cpu")


def test_all_sides_take_turns_and_the_warm_up_does_not_count(monkeypatch):
    order, told, ticks = [], [], iter(range(100))
    monkeypatch.setattr(turns, "timed", lambda step, _: step() or next(ticks))
    steps = [lambda: order.append("a"), lambda: order.append("b")]
    assert in_turns(steps, CPU, rounds=2, warm_up=1, after_round=told.append) == [[3, 4], [2, 5]]
    assert order == ["a", "b", "b", "a", "a", "b"] and told == [1, 2, 3]


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    assert ratios([2.0, 2.0, 8.0], [1.0, 2.0, 2.0]) == (1.5, 2.0, 3.0)
    assert ratios([3.0], [2.0]) == (1.5, 1.5, 1.5)


def test_timing_waits_for_any_accelerator(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    assert timed(lambda: None, CPU) == pytest.approx(0, abs=0.5)
    assert waited == []
    timed(lambda: None, torch.device("xpu"))
    assert waited == [torch.device("xpu")] * 2
