from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from locallearn.lean.overwriting import in_parts, may_overwrite
from locallearn.planning.bytes_alive import BytesAlive


class Asking(Function):
    """Adds nothing; notes whether its gradient may be overwritten."""

    @staticmethod
    def forward(ctx, values, answers):
        ctx.answers = answers
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        ctx.answers.append(may_overwrite(gradients))
        return gradients[0], None


class Seed(Function):
    @staticmethod
    def forward(ctx, values, stash):
        ctx.stash = stash
        return values.new_zeros(())

    @staticmethod
    def backward(ctx, *_):
        return ctx.stash.pop(), None


KEPT: list[object] = []


def hooked(values, hook):
    values.register_hook(hook)
    return values


def keep(made):
    """None, so that the hook leaves the gradient as it is."""
    KEPT.append(made)


def seeded(values, *, held=None):
    gradient = torch.ones_like(values)
    stash = [gradient.detach() if held == "alias" else gradient]
    KEPT.append(gradient if held else None)
    del gradient
    return Seed.apply(values, stash)


ALONE = {
    "from an operator": lambda ask: ask() * 2,
    "from a convolution": lambda ask: torch.conv2d(ask(), torch.ones(3, 3, 1, 1)),
    "channels last": lambda ask: torch.conv2d(
        ask().contiguous(memory_format=torch.channels_last),
        torch.ones(3, 3, 1, 1).contiguous(memory_format=torch.channels_last),
    ),
    "from a seed": lambda ask: seeded(ask()),
    "summed up from two readers": lambda ask: (lambda values: values * 2 + values * 3)(ask()),
    "a branch without gradient": lambda ask: (ask() + torch.ones(4, 3, 8, 8)) * 2,
    "a hook that looks": lambda ask: hooked(ask(), lambda gradient: None) * 2,
}
SHARED = {
    "two branches": lambda ask: (ask() + ask()) * 2,
    "two branches by views": lambda ask: (ask().flatten(1) + ask().flatten(1)) * 2,
    "parts of one gradient": lambda ask: torch.cat([ask(), ask()]) * 2,
    "one number for all": lambda ask: ask(),
    "held by a hook": lambda ask: hooked(ask(), keep) * 2,
    "held by a hook as alias": lambda ask: hooked(ask(), lambda gradient: keep(gradient.detach())) * 2,
    "held by a hook as view": lambda ask: hooked(ask(), lambda gradient: keep(gradient[:1])) * 2,
    "a seed that is held": lambda ask: seeded(ask(), held="itself"),
    "a seed of which an alias is held": lambda ask: seeded(ask(), held="alias"),
}


def answers_of(function):
    leaf = torch.ones(4, 3, 8, 8, requires_grad=True)
    answers: list[bool] = []
    function(lambda: Asking.apply(leaf * 1, answers)).sum().backward()
    KEPT.clear()
    return answers


@pytest.mark.parametrize("context", [nullcontext, FakeTensorMode, BytesAlive])
@pytest.mark.parametrize("name", ALONE)
def test_a_gradient_that_nobody_else_holds_may_be_overwritten(name, context):
    with context():
        assert answers_of(ALONE[name]) == [True]


@pytest.mark.parametrize("context", [nullcontext, FakeTensorMode, BytesAlive])
@pytest.mark.parametrize("name", SHARED)
def test_a_shared_gradient_may_not(name, context):
    with context():
        answers = answers_of(SHARED[name])
    assert answers[0] is False


def test_what_is_asked_for_by_name_is_kept():
    leaf, answers = torch.ones(4, 3, requires_grad=True), []
    asked = Asking.apply(leaf * 1, answers)
    torch.autograd.grad((asked * 2).sum(), [asked, leaf])
    assert answers == [False]


def test_small_tensors_stay_whole_and_large_ones_are_cut():
    small, large = torch.zeros(4, 2), torch.zeros(20, 2**16)
    assert len(in_parts(small, small)) == 1
    parts = in_parts(large, large)
    assert sum(len(part) for part, _ in parts) == 20 and len(parts) == 7
    assert all(part.data_ptr() == other.data_ptr() for part, other in parts)
