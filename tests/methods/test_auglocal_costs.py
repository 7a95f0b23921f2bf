"""Costs of AugLocal's heads against the printed ones."""

from __future__ import annotations

import pytest
import torch

import locallearn as ll
from locallearn.methods.auglocal import AugLocal
from locallearn.networks import build
from methods.auglocal_cases import cost_of, cut, heads_of, model_of, resnet110
from small_networks import stack


@pytest.mark.usefixtures("without_initial_values")
@pytest.mark.parametrize(
    ("d", "bare", "printed"),
    [(2, 0.624, 0.63), (3, 0.685, 0.69), (4, 0.794, 0.80), (5, 0.978, 0.98), (6, 1.119, 1.13)],
)
def test_cost_is_that_of_table_2(d, bare, printed):
    model = model_of(resnet110(), AugLocal(depth=d - 1))
    assert len(model.windows) == 55 - (d - 1)
    assert round(cost_of(model) / 1e9, 2) == printed
    assert round(cost_of(model, norms=False) / 1e9, 3) == bare


TABLE_6 = {
    5: (0.79, 0.83, 0.87, 0.89, 0.93),
    6: (0.90, 0.95, 0.99, 1.03, 1.09),
    7: (0.99, 1.06, 1.11, 1.17, 1.22),
    8: (1.09, 1.16, 1.22, 1.29, 1.36),
    9: (1.18, 1.26, 1.35, 1.41, 1.49),
}


@pytest.mark.usefixtures("without_initial_values")
@pytest.mark.parametrize("d", TABLE_6)
def test_cost_is_that_of_table_6(d):
    for tau, printed in zip((1.0, 0.9, 0.8, 0.7, 0.6), TABLE_6[d], strict=True):
        model = model_of(resnet110(), AugLocal(depth=d - 1, tau=tau))
        assert abs(cost_of(model) / 1e9 - printed) < 0.02


@pytest.mark.parametrize(
    "fields",
    [{}, {"depth": 5}, {"tail": "kept"}, {"base": ll.PredSim()}, {"downsampling": "channel_ratio", "tau": 1.0}],
)
def test_equal_cost(fields):
    blocks = cut("resnet32", 16)
    model = model_of(blocks, AugLocal(layers="conv3x3", match_flops=True, **fields))
    wanted = model_of(blocks, AugLocal(**fields | {"tail": "merged"}))
    assert abs(cost_of(model, norms=False) / cost_of(wanted, norms=False) - 1) < 0.01
    factors = [head.linear.in_features / blocks.units[unit].out_shape[0] for unit, head in heads_of(model).items()]
    assert max(factors) - min(factors) < 0.5 / 16 + 0.5 / 64 and min(factors) > 2
    assert len({len(head.convs) for head in heads_of(model).values()} | {fields.get("depth", 2) + 1}) == 1


def test_equal_cost_is_solved_once(monkeypatch):
    from locallearn.auxiliary import conv_stack

    calls, solve = [], conv_stack.matching_multiplier
    monkeypatch.setattr(conv_stack, "matching_multiplier", lambda *a, **k: calls.append(a) or solve(*a, **k))
    blocks = ll.partition(build("resnet20", 10), torch.zeros(2, 3, 32, 32), num_blocks=10)
    for _ in range(2):
        model_of(blocks, AugLocal(layers="conv3x3", match_flops=True))
    assert len(calls) == 1


def test_equal_cost_out_of_reach_is_refused():
    blocks = ll.partition(stack([1, 1, 2, 2]), torch.zeros(2, 3, 8, 8, dtype=torch.float64), num_blocks=4)
    with pytest.raises(ll.InputError, match="match_flops finds no width"):
        model_of(blocks, AugLocal(depth=1, layers="conv3x3", match_flops=True), 3)
