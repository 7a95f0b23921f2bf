from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from locallearn.auxiliary import PooledLinear, pooling_rule
from reference import heads as reference

PUBLISHED = [  # channels, side, threshold: kernel, output, values
    (128, 32, 2048, (8, 8), (4, 4), 2048),
    (256, 32, 2048, (16, 8), (2, 4), 2048),
    (256, 16, 2048, (8, 4), (2, 4), 2048),
    (512, 16, 2048, (8, 8), (2, 2), 2048),
    (512, 8, 2048, (4, 4), (2, 2), 2048),
    (512, 4, 2048, (2, 2), (2, 2), 2048),
    (384, 32, 4096, (16, 8), (2, 4), 3072),
    (1536, 8, 4096, (8, 4), (1, 2), 3072),
    (512, 7, 1024, (8, 4), (1, 2), 1024),
    (16, 32, 512, (8, 4), (4, 8), 512),
    (32, 16, 512, (4, 4), (4, 4), 512),
    (64, 8, 512, (4, 2), (2, 4), 512),
    (16, 96, 512, (32, 16), (3, 6), 288),
    (32, 48, 512, (16, 16), (3, 3), 288),
    (64, 24, 512, (16, 8), (2, 3), 384),
]


@pytest.mark.parametrize(("channels", "side", "threshold", "kernel", "output", "values"), PUBLISHED)
def test_rule_gives_the_published_pools(
    channels: int, side: int, threshold: int, kernel: tuple[int, int], output: tuple[int, int], values: int
) -> None:
    pooling = pooling_rule(channels, side, side, threshold)
    assert (pooling.kernel, pooling.output, pooling.features) == (kernel, output, values)


def test_rule_gives_the_published_paddings() -> None:
    assert pooling_rule(512, 7, 7, 1024).padding == (4, 2)
    assert pooling_rule(64, 24, 24, 512).padding == (8, 0)
    assert pooling_rule(16, 96, 96, 512).padding == (0, 0)


@given(st.integers(1, 600), st.integers(1, 40), st.integers(1, 40), st.integers(1, 3000))
@settings(deadline=None, max_examples=200)
def test_rule_predicts_what_the_pool_returns(channels: int, height: int, width: int, threshold: int) -> None:
    pooling = pooling_rule(channels, height, width, threshold)
    pooled = F.avg_pool2d(torch.zeros(1, 1, height, width), pooling.kernel, padding=pooling.padding)
    assert tuple(pooled.shape[2:]) == pooling.output
    assert pooling.features <= max(threshold, channels)


@pytest.mark.parametrize(("channels", "side"), [(16, 32), (32, 16), (64, 8)])
def test_parameters_and_initialisation(channels: int, side: int) -> None:
    head, original = (
        PooledLinear((channels, side, side), 10, threshold=512, zero_weight=False),
        PooledLinear((channels, side, side), 10, threshold=4096, zero_weight=True),
    )
    assert sum(p.numel() for p in head.parameters()) == 5130
    assert head.linear.weight.std() > 0 and original.linear.weight.eq(0).all() and original.linear.bias.ne(0).any()
    assert original.linear.in_features == min(channels * side * side, 4096)


def test_equals_the_plain_form() -> None:
    head = PooledLinear((16, 32, 32), 10, threshold=512, zero_weight=False)
    maps = torch.randn(2, 16, 32, 32)
    expected = reference.pooled_linear(maps, dict(head.named_parameters()), 4, 8)
    torch.testing.assert_close(head(maps), expected, rtol=1e-4, atol=1e-5)


def test_vectors() -> None:
    assert PooledLinear((700,), 10, threshold=512, zero_weight=False)(torch.randn(2, 700)).shape == (2, 10)
