from __future__ import annotations

import torch
from torch.autograd import Function

from locallearn.engine.gradient_flow import add_to, caught, push_back


class Held(Function):
    """A scalar whose gradient is a tensor that somebody else holds."""

    @staticmethod
    def forward(ctx, values, held):
        ctx.held = held
        return values.sum()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.held, None


def test_a_gradient_that_somebody_holds_is_left_alone():
    held, stash = torch.ones(4), []
    values = caught(torch.zeros(4), stash)
    Held.apply(values, held).backward()
    (3 * values).sum().backward()
    assert torch.equal(stash[0], torch.full((4,), 4.0))
    assert torch.equal(held, torch.ones(4))


def test_a_gradient_of_repeated_numbers_stays_one_until_it_is_sent_back():
    stash = []
    caught(torch.zeros(2, 3, 8, 8), stash).sum((2, 3)).sum().backward()
    assert stash[0].untyped_storage().nbytes() < 2 * 3 * 8 * 8 * 4
    leaf = torch.zeros(2, 3, 8, 8, requires_grad=True)
    push_back(leaf * 2, stash)
    assert not stash
    assert torch.equal(leaf.grad, torch.full((2, 3, 8, 8), 2.0))


def test_sums_are_right_whichever_repeats_and_write_where_there_is_memory():
    one, full = torch.ones(()).expand(3), torch.arange(3.0)
    for pair in ((one, one), (one, full), (full, one), (full, full)):
        stash = []
        for each in pair:
            add_to(stash, each if each is one else each.clone())
        assert torch.equal(stash[0], pair[0] + pair[1])
    assert one[0] == 1


def test_the_layout_of_channels_last_maps_is_kept():
    stash = []
    maps = torch.zeros(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    caught(maps, stash).mul(2).sum().backward()
    output = torch.zeros_like(maps).requires_grad_() * 1
    seen = []
    output.register_hook(lambda gradient: seen.append(gradient))
    push_back(output, stash)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
