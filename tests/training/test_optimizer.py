from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.training.optimizer import build, set_rates
from training.tiny_runs import recipe


def groups():
    return {"blocks": [nn.Parameter(torch.ones(2))], "auxiliary": [nn.Parameter(torch.ones(3))], "cascades": []}


def test_groups_have_their_own_rates_and_empty_ones_are_dropped():
    training = recipe(training={"lr": 0.1, "auxiliary_lr": 0.4, "schedule": {"name": "cosine"}, "epochs": 2}).training
    optimizer = build(groups(), training)
    assert [group["name"] for group in optimizer.param_groups] == ["blocks", "auxiliary"]
    assert set_rates(optimizer, training, epoch=2, position=9, steps=10) == pytest.approx(
        {"blocks": 0.05, "auxiliary": 0.2}
    )
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.2])


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({"lr": 0.1}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)),
        (
            {"lr": 0.1, "optimizer": "adamw", "betas": [0.8, 0.9], "weight_decay": 0.2},
            lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.2, fused=True),
        ),
    ],
)
def test_it_is_torchs_own_optimizer(fields, plain):
    ours, theirs = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    pairs = [(build({"blocks": [ours]}, recipe(training=fields).training), ours), (plain([theirs]), theirs)]
    for optimizer, parameter in pairs:
        for step in range(3):
            parameter.grad = torch.arange(4.0) - step
            optimizer.step()
    assert torch.equal(ours, theirs)
