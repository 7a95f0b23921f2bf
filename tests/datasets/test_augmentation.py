from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from locallearn.datasets.augmentation import Draws, apply, draw, normalize
from locallearn.datasets.spec import Augmentation
from locallearn.errors import InputError

REFLECT = Augmentation(pad=3, padding="reflect", flip=True)
ZEROS = Augmentation(pad=3, padding="zeros", flip=True)


def some(count: int = 50, channels: int = 3, height: int = 5, width: int = 7) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8)


def augment(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    return apply(images, augmentation, draw(len(images), augmentation, generator))


def one_by_one(images: Tensor, augmentation: Augmentation, tops: Tensor, lefts: Tensor, mirrored: Tensor) -> Tensor:
    """The same with NumPy's padding, slices and flips, image after image."""
    pad, results = augmentation.pad, []
    mode = "reflect" if augmentation.padding == "reflect" else "constant"
    for image, top, left, mirror in zip(images.numpy(), tops, lefts, mirrored, strict=True):
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode=mode)
        cropped = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
        results.append(cropped[:, :, ::-1] if mirror else cropped)
    return torch.from_numpy(np.stack(results))


@pytest.mark.parametrize("augmentation", [REFLECT, ZEROS, Augmentation(pad=0, padding="zeros", flip=True)])
def test_equal_to_a_loop_over_the_images(augmentation: Augmentation) -> None:
    images = some()
    draws = draw(len(images), augmentation, torch.Generator().manual_seed(1))
    assert torch.equal(apply(images, augmentation, draws), one_by_one(images, augmentation, *draws))


def test_strided_images_are_read_right() -> None:
    images = some(8).contiguous(memory_format=torch.channels_last)
    draws = draw(8, REFLECT, torch.Generator().manual_seed(1))
    assert torch.equal(apply(images, REFLECT, draws), one_by_one(images, REFLECT, *draws))


def test_reflection_does_not_repeat_the_edge() -> None:
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    corner = apply(image, Augmentation(pad=2, padding="reflect", flip=False), draws=draw_at(0, 0))
    assert corner[0, 0, 0].tolist() == [10, 9, 8, 9]
    far = apply(image, Augmentation(pad=2, padding="reflect", flip=False), draws=draw_at(4, 4))
    assert far[0, 0, 3].tolist() == [6, 7, 6, 5]


def test_zeros_are_black() -> None:
    image = torch.full((1, 1, 4, 4), 9, dtype=torch.uint8)
    corner = apply(image, Augmentation(pad=2, padding="zeros", flip=False), draws=draw_at(0, 4))
    assert corner[0, 0].tolist() == [[0] * 4, [0] * 4, [9, 9, 0, 0], [9, 9, 0, 0]]


def test_every_image_has_its_own_draw() -> None:
    images = torch.arange(1, 36, dtype=torch.uint8).view(1, 1, 5, 7).expand(1000, 1, 5, 7)
    varied = augment(images, ZEROS, torch.Generator().manual_seed(0))
    assert len(varied.flatten(1).unique(dim=0)) == 7 * 7 * 2


def test_draws_are_uniform() -> None:
    top, left, mirrored = draw(49_000, REFLECT, torch.Generator().manual_seed(0))
    expected = torch.full((7,), 7000.0)
    for offsets in (top, left):
        torch.testing.assert_close(torch.bincount(offsets).float(), expected, rtol=0.06, atol=0)
    assert abs(mirrored.float().mean() - 0.5) < 0.01
    assert not draw(1000, Augmentation(pad=3, padding="zeros", flip=False), torch.Generator()).mirrored.any()


def test_same_stream_same_images_and_input_untouched() -> None:
    images = some()
    before = images.clone()
    first, second = (augment(images, REFLECT, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(images, REFLECT, torch.Generator().manual_seed(4)))
    assert torch.equal(images, before)


def test_nothing_to_vary() -> None:
    images = some()
    assert augment(images, Augmentation(pad=0, padding="zeros", flip=False), torch.Generator()) is images


def test_too_much_reflection_is_refused() -> None:
    with pytest.raises(InputError, match="5x7"):
        augment(some(), Augmentation(pad=5, padding="reflect", flip=False), torch.Generator())


def test_normalisation_is_bit_for_bit_the_papers_transform() -> None:
    from torchvision.transforms import functional

    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    mean, std = (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)
    expected = functional.normalize(images.to(torch.float32).div(255), list(mean), list(std))
    assert torch.equal(normalize(images, mean, std), expected)


def draw_at(top: int, left: int) -> Draws:
    return Draws(torch.tensor([top]), torch.tensor([left]), torch.tensor([False]))
