from __future__ import annotations

import numpy as np

from locallearn.datasets import digits
from locallearn.datasets.layout import SPLITS


def test_fixed_stratified_split_of_all_images() -> None:
    train, test = (digits.read(split) for split in SPLITS)
    assert train.images.shape == (1437, 3, 8, 8)
    assert test.images.shape == (360, 3, 8, 8)
    assert train.images.dtype == np.uint8
    shares = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.all(np.abs(shares - 0.2) < 0.005)
    assert all(map(np.array_equal, digits.read("test"), test))


def test_no_image_is_in_both_and_none_is_lost() -> None:
    from sklearn.datasets import load_digits

    both = np.concatenate([digits.read(split).images[:, 0] for split in SPLITS]).reshape(-1, 64)
    original = load_digits().images.reshape(-1, 64)
    expected = np.array([round(255 * grey / 16) for grey in range(17)])[original.astype(int)]
    assert np.array_equal(np.unique(both, axis=0), np.unique(expected, axis=0))
    assert len(both) == len(original)


def test_the_three_channels_are_the_grey_level() -> None:
    images = digits.read("test").images
    assert np.array_equal(images[:, 0], images[:, 1])
    assert np.array_equal(images[:, 0], images[:, 2])
    assert (images.min(), images.max()) == (0, 255)


def test_constants_are_those_of_the_training_images() -> None:
    pixels = digits.read("train").images[:, 0] / 255
    assert round(float(pixels.mean()), 3) == digits.SPEC.mean[0]
    assert round(float(pixels.std()), 3) == digits.SPEC.std[0]
