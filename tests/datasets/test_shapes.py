from __future__ import annotations

import numpy as np
import pytest
import torch

from locallearn.datasets import shapes
from locallearn.datasets.shapes import Shapes
from locallearn.errors import InputError

torch.set_num_threads(1)


def test_images_depend_on_seed_split_and_index_alone() -> None:
    first = Shapes(count=4)
    image, target = first[2]
    again, same = Shapes(count=9)[2]
    assert torch.equal(image, again) and all(torch.equal(target[name], same[name]) for name in target)
    others = [Shapes(count=4, split=1)[2], Shapes(count=4, seed=1)[2], first[3]]
    assert not any(torch.equal(image, other) for other, _ in others)


def test_samples_are_what_their_description_says() -> None:
    samples = Shapes(count=40)
    counts, classes = set(), set()
    for index in range(len(samples)):
        image, target = samples[index]
        assert image.dtype == torch.uint8 and image.shape == shapes.SPEC.shape and image.is_contiguous()
        count = len(target["labels"])
        counts.add(count)
        classes |= set(target["labels"].tolist())
        assert target["boxes"].dtype == torch.float32 and target["boxes"].shape == (count, 4)
        assert target["masks"].dtype == torch.uint8 and target["masks"].shape == (count, 128, 128)
        assert (target["masks"].sum(0) <= 1).all() and target["masks"].flatten(1).any(1).bool().all()
        for mask, box in zip(target["masks"], target["boxes"].int().tolist(), strict=True):
            rows, columns = torch.nonzero(mask.any(1))[:, 0], torch.nonzero(mask.any(0))[:, 0]
            assert box == [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        assert target["image_id"] == index
    assert counts == {1, 2, 3, 4, 5} and classes == {1, 2, 3}


def test_alone_objects_have_the_sizes_that_were_asked_for() -> None:
    sides = []
    for index in range(60):
        _, target = Shapes(count=60, most=1)[index]
        sides.append(float((target["boxes"][:, 2:] - target["boxes"][:, :2]).max()))
    assert 14 <= min(sides) < 24 and 70 < max(sides) <= 96


def test_silhouettes_are_those_of_their_names() -> None:
    # Share of its own box's longer side squared: pi/4; 1/2 to 1 by angle; a triangle's, less than 1/2.
    for label, (low, high) in enumerate(((0.76, 0.81), (0.45, 1.0), (0.35, 0.53))):
        for seed in range(5):
            drawn = Shapes(count=1, smallest=60, largest=60)._silhouette(np.random.RandomState(seed), label)
            box = shapes._box(drawn)
            side = max(box[2] - box[0], box[3] - box[1])
            assert 58 <= side <= 61 and low < drawn.sum() / side**2 < high


def test_splits_and_their_sizes() -> None:
    splits = shapes.open_splits(shapes.SPEC, None, download=False)
    assert (len(splits.train), splits.validation, len(splits.test)) == (2000, None, 300)
    assert splits.train.classes == splits.spec.classes
    with pytest.raises(IndexError):
        splits.test[300]


def test_what_cannot_be_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="generated and reads no files"):
        shapes.open_splits(shapes.SPEC, tmp_path, download=False)
    for fields in ({"count": 0}, {"smallest": 0}, {"largest": 200}, {"most": 0}, {"smallest": 50, "largest": 40}):
        with pytest.raises(InputError, match="Shapes need"):
            Shapes(**{"count": 3, **fields})
