"""Scaled crops: image and labels stay together, and what is drawn is what is documented."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from locallearn.datasets import camvid, pixel_transforms
from locallearn.datasets.augmentation import normalize
from locallearn.datasets.scale_crop import ScaleCrop
from locallearn.errors import InputError

torch.set_num_threads(1)
MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.5, 0.25)
SPEC = replace(camvid.SPEC, mean=MEAN, std=STD)
STILL = ScaleCrop(crop=(6, 8), scale=(1, 1), cat_max_ratio=1, flip=False, photometric=False)


def numbered(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel (i, j) has the label i width + j modulo 251, and an image of that number in all channels."""
    labels = torch.arange(height * width).view(height, width) % 251
    return labels.to(torch.uint8).expand(3, -1, -1).contiguous(), labels


def pixels(image: Tensor) -> Tensor:
    """The first channel before normalisation, rounded."""
    return (255 * (image[0] * STD[0] + MEAN[0])).round().long()


@pytest.mark.parametrize("flip", [False, True])
def test_image_and_labels_are_cut_alike(flip: bool) -> None:
    transform = replace(STILL, flip=flip).training(SPEC)
    corners, mirrored = set(), Counter[bool]()
    for seed in range(200):
        torch.manual_seed(seed)
        image, labels = transform(*numbered(9, 11))
        assert image.shape == (3, 6, 8) and image.dtype == torch.float32 and labels.dtype == torch.int64
        assert torch.equal(pixels(image), labels)
        turned = bool(labels[0, 0] > labels[0, 1])
        mirrored[turned] += 1
        corners.add(int((labels.flip(1) if turned else labels)[0, 0]))
    assert corners == {11 * row + column for row in range(4) for column in range(4)}
    assert 60 < mirrored[True] < 140 if flip else mirrored[True] == 0


def test_what_a_crop_lacks_is_the_mean_and_does_not_count() -> None:
    image, labels = STILL.training(SPEC)(*numbered(4, 5))
    assert torch.equal(labels[:4, :5], numbered(4, 5)[1]) and (labels[4:] == 255).all() and (labels[:, 5:] == 255).all()
    assert not image[:, 4:].any() and not image[:, :, 5:].any()
    assert torch.equal(image[:, :4, :5], normalize(numbered(4, 5)[0], MEAN, STD))


def test_scales_are_uniform_over_the_range_and_labels_are_never_mixed() -> None:
    transform = ScaleCrop(crop=(64, 64), scale=(0.5, 2.0), flip=False, photometric=False).training(SPEC)
    labels = torch.zeros(32, 32, dtype=torch.long)
    labels[:, 16:] = 7
    sides = []
    for seed in range(300):
        torch.manual_seed(seed)
        _, found = transform(torch.zeros(3, 32, 32, dtype=torch.uint8), labels)
        assert set(found.unique().tolist()) <= {0, 7, 255}
        sides.append(int((found[0] != 255).sum()))
    assert min(sides) in (16, 17) and max(sides) in (63, 64)
    assert sum(side < 28 for side in sides) == pytest.approx(300 * 0.25, abs=30)
    assert sum(side < 40 for side in sides) == pytest.approx(300 * 0.5, abs=35)


def test_scaled_image_is_torchvisions_resize_from_the_size_given() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (3, 20, 30), generator=generator, dtype=torch.uint8)
    labels = torch.randint(11, (20, 30), generator=generator)
    found, marks = pixel_transforms.scaled(image, labels, (10, 12), 1.5)
    assert torch.equal(found, transforms.resize(image, [15, 18], antialias=True)) and marks.shape == (15, 18)
    rows, columns = ((torch.arange(n) + 0.5) * of / n for n, of in ((15, 20), (18, 30)))
    assert torch.equal(marks, labels[rows.long()[:, None], columns.long()])


def test_crops_of_one_class_are_drawn_again() -> None:
    labels = torch.zeros(8, 64, dtype=torch.long)
    labels[:, 60:] = 1
    labels[:4, :30] = 255

    def accepted(most: float) -> float:
        good = 0
        for seed in range(200):
            torch.manual_seed(seed)
            top, left = pixel_transforms.crop_corner(labels, (8, 8), most)
            inside = labels[top : top + 8, left : left + 8]
            counts = inside[inside != 255].bincount(minlength=2)
            good += int(counts.max() < 0.75 * counts.sum())
        return good / 200

    once = accepted(1)
    # Left corners 55 to 56 are those with at least a quarter of class 1, of 57 in all: 3/57 at once, in ten tries 42 %.
    assert once < 0.12 and accepted(0.75) == pytest.approx(1 - (1 - 2 / 57) ** 10, abs=0.12)


def test_colours_are_distorted_within_their_bounds_and_labels_are_not() -> None:
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    values = set()
    for seed in range(300):
        torch.manual_seed(seed)
        changed = pixel_transforms.distorted(image)
        assert changed.dtype == torch.uint8 and changed.shape == image.shape
        # Grey stays grey: saturation and hue leave it.
        assert torch.equal(changed[0], changed[1])
        values.add(int(changed[0, 0, 0]))
    assert min(values) >= (100 - 32) * 0.5 - 1 and max(values) <= (100 + 32) * 1.5 + 1
    assert 100 in values and min(values) < 60 and max(values) > 150
    torch.manual_seed(0)
    _, labels = replace(STILL, photometric=True).training(SPEC)(*numbered(6, 8))
    assert torch.equal(labels, numbered(6, 8)[1])


def test_testing_resizes_the_image_alone() -> None:
    image, labels = numbered(9, 11)
    found, kept = replace(STILL, size=(18, 22)).testing(SPEC)(image, labels)
    assert torch.equal(found, normalize(transforms.resize(image, [18, 22], antialias=True), MEAN, STD))
    assert torch.equal(kept, labels)
    assert torch.equal(STILL.testing(SPEC)(image, labels)[0], normalize(image, MEAN, STD))


def test_the_random_state_decides_and_transforms_can_be_pickled() -> None:
    options = ScaleCrop(crop=(6, 8))
    for transform in (options.training(SPEC), options.testing(SPEC)):
        again = pickle.loads(pickle.dumps(transform))
        pair = []
        for each in (transform, again):
            torch.manual_seed(3)
            pair.append(each(*numbered(9, 11)))
        assert all(torch.equal(one, other) for one, other in zip(*pair, strict=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": (0, 5)}, "augmentation.crop must be height and width"),
        (
            {"crop": (5, 5), "size": (-1, 5), "scale": (2, 1)},
            "augmentation.size .*\n.*augmentation.scale must be a range",
        ),
        ({"crop": (5, 5), "cat_max_ratio": 0}, "augmentation.cat_max_ratio must be above 0"),
    ],
)
def test_impossible_options_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScaleCrop(**fields)  # type: ignore[arg-type]
