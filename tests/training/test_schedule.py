from __future__ import annotations

import pytest
from torch import nn, optim

from locallearn.recipes.recipe import TrainingSection
from locallearn.training import schedule

# l0 = 0.8, E = 400, as the released training code prints them.
RELEASED = {1: 0.0100, 2: 0.0890, 5: 0.3259, 10: 0.7199, 11: 0.7985, 200: 0.4}


@pytest.mark.parametrize(("epoch", "value"), RELEASED.items())
def test_warmup_cosine_gives_the_released_values(epoch, value):
    assert schedule.warmup_cosine(0.8, epoch, 400) == pytest.approx(value, abs=6e-5)


def test_warmup_cosine_ends_at_exactly_zero():
    assert schedule.warmup_cosine(0.8, 399, 400) == pytest.approx(1.2e-5, rel=0.05)
    assert schedule.warmup_cosine(0.8, 400, 400) == 0.0


@pytest.mark.parametrize(("epoch", "value"), [(1, 0.01), (2, 0.089), (5, 0.325), (10, 0.714), (11, 0.791)])
def test_warmup_cosine_over_160_epochs(epoch, value):
    assert schedule.warmup_cosine(0.8, epoch, 160) == pytest.approx(value, abs=6e-4)


def test_warmup_starts_at_its_own_rate_whatever_the_base():
    assert schedule.warmup_cosine(0.1, 1, 30) == schedule.warmup_cosine(3.0, 1, 30) == 0.01


def test_without_warmup_only_the_cosine_is_left():
    assert schedule.warmup_cosine(1.0, 1, 2, warmup_epochs=0) == pytest.approx(0.5)


def test_cosine_and_step_agree_with_torch():
    parameter = nn.Parameter(nn.Linear(1, 1).weight.detach())
    optimizer = optim.SGD([parameter], lr=0.3)
    ours = [schedule.cosine(0.3, e, 7) for e in range(1, 8)]
    theirs = optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
    assert ours == pytest.approx(_rates(optimizer, theirs, 7))
    optimizer = optim.SGD([parameter], lr=0.3)
    ours = [schedule.step(0.3, e, milestones=(3, 5), gamma=0.5) for e in range(1, 8)]
    theirs = optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], gamma=0.5)
    assert ours == pytest.approx(_rates(optimizer, theirs, 7))


def _rates(optimizer, scheduler, epochs):
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_poly_falls_from_the_base_towards_its_floor():
    assert schedule.poly(0.01, 0, 40000) == pytest.approx(0.01)
    assert schedule.poly(0.01, 20000, 40000) == pytest.approx((0.01 - 1e-4) * 0.5**0.9 + 1e-4)
    assert schedule.poly(0.01, 40000, 40000) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"name": "warmup_cosine", "warmup_epochs": 2, "warmup_start": 0.5}, 0.5),
        ({"name": "cosine"}, 1.0),
        ({"name": "step", "milestones": [3]}, 1.0),
        ({"name": "poly"}, (1 - 1e-4) * 0.5**0.9 + 1e-4),
        ({"name": "constant"}, 1.0),
    ],
)
def test_the_recipe_names_the_schedule(fields, value):
    training = TrainingSection.model_validate({"epochs": 4, "lr": 1.0, "schedule": fields})
    assert schedule.rate(training, 1.0, epoch=1, position=5, steps=10) == pytest.approx(value)
