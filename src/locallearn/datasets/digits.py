"""Handwritten digits, 8x8: the data set that needs no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from locallearn.datasets.arrays import ImageArrays
from locallearn.datasets.layout import SPLITS, Layout
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.datasets.stratified import hold_out

SPEC = DatasetSpec(
    name="digits",
    title="Optical Recognition of Handwritten Digits (scikit-learn's copy)",
    classes=tuple("0123456789"),
    shape=(3, 8, 8),
    mean=(0.305,) * 3,
    std=(0.376,) * 3,
    augmentation=Augmentation(pad=1, padding="zeros", flip=False),
    source="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998",
    licence="CC BY 4.0",
    files="nothing (it comes with scikit-learn)",
    address="https://archive.ics.uci.edu/dataset/80",
    notes="The 16 grey levels are spread over 0-255 and repeated over three channels, for networks that take colour.",
)

TEST_SHARE, TEST_SEED = 0.2, 0


def find(root: Path | None) -> Layout | None:
    """The data set that comes with scikit-learn.

    Args:
        root: A folder to read instead, or None.

    Returns:
        The embedded images if no folder is given.
    """
    return Layout("embedded in scikit-learn", {}, read) if root is None else None


def read(split: str) -> ImageArrays:
    """The 1,797 images in a fixed split of our own: 1,437 to train, 360 to test, every class in the same share.

    Args:
        split: 'train' or 'test'.

    Returns:
        (N, 3, 8, 8) images, the grey level g of 0 to 16 as round(255 g / 16) in all three channels.

    Departures: scikit-learn ships the test part of the original data set; its 43 writers are not kept apart here.
    """
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    chosen = hold_out(labels, TEST_SHARE, TEST_SEED)[SPLITS.index(split)]
    pixels = np.rint(grey[chosen] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ImageArrays(pixels.repeat(SPEC.shape[0], axis=1), labels[chosen].astype(np.int64))
