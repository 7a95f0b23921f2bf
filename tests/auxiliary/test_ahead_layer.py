from __future__ import annotations

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.auxiliary.ahead_layer import AheadLayer


def linear():
    return nn.Linear(3, 3)


def test_copy_and_bias_are_added_and_may_be_weighed():
    copy, bias, x = linear(), linear(), torch.randn(4, 3)
    assert torch.equal(AheadLayer(averaged=copy)(x), copy(x))
    assert torch.equal(AheadLayer(learned=bias)(x), bias(x))
    assert torch.equal(AheadLayer(averaged=copy, learned=bias)(x), copy(x) + bias(x))
    layer = AheadLayer(averaged=copy, learned=bias, scaled=True)
    assert torch.equal(layer(x), copy(x) + bias(x))
    with torch.no_grad():
        layer.scale.fill_(0.25)
    torch.testing.assert_close(layer(x), 1.75 * copy(x) + 0.25 * bias(x))


@pytest.mark.parametrize(("shape", "size"), [((5, 2, 2), (5, 1, 1)), ((7, 5), (5,)), ((5,), (5,))])
def test_the_vector_has_a_number_per_channel_and_starts_at_zero(shape, size):
    layer = AheadLayer(averaged=nn.Identity(), bias_of=shape)
    x = torch.randn(2, *shape)
    assert layer.vector.shape == size and torch.equal(layer(x), x)
    with torch.no_grad():
        layer.vector.copy_(torch.arange(5.0).view(size))
    added = layer(x) - x
    channels = added.movedim(1, -1) if len(shape) == 3 else added
    torch.testing.assert_close(channels, torch.arange(5.0).expand_as(channels))


@pytest.mark.parametrize("given", [{}, {"averaged": linear(), "scaled": True}, {"learned": linear(), "scaled": True}])
def test_what_is_missing_is_refused(given):
    with pytest.raises(ll.InputError, match=r"needs a copy|give both"):
        AheadLayer(**given)
