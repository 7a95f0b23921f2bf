from __future__ import annotations

import re

import pytest
import torch

from locallearn.auxiliary.feature_map import (
    as_map,
    conv3x3,
    doublings,
    feature_width,
    global_average,
    map_shape,
    pool_to,
)
from locallearn.errors import InputError


@pytest.mark.parametrize("shape", [(5, 4, 3), (5,)])
def test_the_shape_is_that_of_the_map(shape: tuple[int, ...]) -> None:
    features = torch.randn(2, *shape)
    maps = as_map(features)
    assert tuple(maps.shape[1:]) == map_shape(shape)
    assert maps.data_ptr() == features.data_ptr()


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 4, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"maps (C, H, W) or vectors (D,), got {shape}")):
        map_shape(shape)


def test_the_width_of_a_feature() -> None:
    assert [feature_width(shape) for shape in ((5, 4, 3), (7, 5), (5,))] == [5, 5, 5]


@pytest.mark.parametrize(
    ("shape", "image_shape", "times"),
    [
        ((512, 28, 28), (3, 224, 224), 3),
        ((256, 56, 56), (3, 224, 224), 2),
        ((1024, 14, 14), (3, 224, 224), 4),
        ((2048, 7, 7), (3, 225, 225), 5),
        ((1024, 45, 60), (3, 360, 480), 3),
        ((1024, 65, 65), (3, 513, 513), 3),
        ((8, 32, 32), (3, 32, 32), 0),
        ((8, 64, 64), (3, 32, 32), 0),
        ((8, 32, 8), (3, 32, 32), 2),
    ],
)
def test_doublings(shape: tuple[int, ...], image_shape: tuple[int, ...], times: int) -> None:
    assert doublings(shape, image_shape) == times


def test_a_pool_to_the_same_size_is_no_copy() -> None:
    maps = torch.randn(2, 3, 4, 5)
    assert pool_to(maps, (4, 5)) is maps
    torch.testing.assert_close(pool_to(maps, (1, 1))[:, :, 0, 0], maps.mean((2, 3)))


@pytest.mark.parametrize(("size", "kernel"), [((4, 4), (3, 3)), ((4, 1), (3, 1)), ((1, 1), (1, 1))])
def test_no_weight_meets_padding_alone(size: tuple[int, int], kernel: tuple[int, int]) -> None:
    conv = conv3x3(3, 5, size)
    assert conv.kernel_size == kernel
    assert conv(torch.randn(1, 3, *size)).shape == (1, 5, *size)


def test_the_global_average_is_the_mean_and_makes_no_map_of_its_gradient() -> None:
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(global_average(maps), maps.mean((2, 3)))
    seen: list[tuple[int, ...]] = []
    maps.register_hook(lambda gradient: seen.append(gradient.stride()))
    global_average(maps).sum().backward()
    assert seen[0][2:] == (0, 0)
    torch.testing.assert_close(maps.grad, torch.full_like(maps, 1 / 20))
