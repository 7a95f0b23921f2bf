from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.auxiliary.shape_adapter import MapAdapter, TokenAdapter, adapted


@pytest.mark.parametrize(
    ("before", "after", "stride"),
    [
        ((4, 8, 8), (6, 2, 2), (4, 4)),
        ((4, 7, 7), (6, 4, 4), (2, 2)),
        ((4, 8, 6), (4, 8, 3), (1, 2)),
        ((4, 9, 9), (6, 4, 4), None),
        ((4, 2, 2), (6, 5, 5), None),
    ],
)
def test_maps_meet_the_wanted_shape(before, after, stride):
    layer = adapted(nn.Identity(), before, after)
    adapter = layer.adapter
    assert isinstance(adapter, MapAdapter)
    assert adapter.conv.bias is None and adapter.conv.kernel_size == (1, 1)
    assert (adapter.size is None) == (stride is not None)
    assert adapter.conv.stride == (stride or (1, 1))
    maps = torch.randn(3, *before)
    assert layer(maps).shape == (3, *after)
    read = maps if stride else nn.functional.adaptive_avg_pool2d(maps, after[1:])
    plain = nn.functional.conv2d(read, adapter.conv.weight, stride=stride or 1)
    torch.testing.assert_close(layer(maps), nn.functional.batch_norm(plain, None, None, training=True))


@pytest.mark.parametrize(
    ("before", "after"),
    [((9, 4), (9, 6)), ((9, 4), (3, 6)), ((4, 3, 3), (9, 6)), ((4, 3, 3), (6,)), ((9, 4), (6,)), ((4,), (6,))],
)
def test_tokens_and_vectors_meet_the_wanted_shape(before, after):
    layer = adapted(nn.Identity(), before, after)
    assert isinstance(layer.adapter, TokenAdapter)
    found = layer(torch.randn(3, *before))
    assert found.shape == (3, *after)
    torch.testing.assert_close(found.mean(-1), torch.zeros(found.shape[:-1]), rtol=0, atol=1e-6)


def test_tokens_of_a_map_keep_their_order():
    adapter = TokenAdapter((4, 2, 3), (6, 5))
    maps = torch.randn(2, 4, 2, 3)
    torch.testing.assert_close(adapter(maps)[:, 4], adapter.norm(adapter.linear(maps[:, :, 1, 1])))


def test_nothing_stands_before_a_layer_that_fits():
    layer = nn.Identity()
    assert adapted(layer, (4, 8, 8), (4, 8, 8)) is layer
    assert adapted(layer, (4,), (4, 8, 8)) is None
    assert adapted(layer, (9, 4), (4, 3, 3)) is None
