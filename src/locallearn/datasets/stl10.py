"""STL-10, its labelled part."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from locallearn.datasets.arrays import ImageArrays
from locallearn.datasets.layout import Layout
from locallearn.datasets.official_files import OfficialFiles
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.errors import InputError

SPEC = DatasetSpec(
    name="stl10",
    title="STL-10, labelled images",
    classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    shape=(3, 96, 96),
    mean=(127.5 / 255,) * 3,
    std=(127.5 / 255,) * 3,
    augmentation=Augmentation(pad=4, padding="zeros", flip=True),
    source="A. Coates, H. Lee, A. Ng: An Analysis of Single-Layer Networks, 2011; constants: InfoPro's train.py",
    licence="none stated; the images were drawn from ImageNet",
    files="stl10_binary.tar.gz or stl10_binary/ (unlabeled_X.bin is not needed)",
    address="https://cs.stanford.edu/~acoates/stl10/",
    notes="The released training code gives STL-10 a hundred outputs by a slip; num_classes=100 does the same.",
)

FILES = OfficialFiles(
    splits={"train": ("train_X.bin", "train_y.bin"), "test": ("test_X.bin", "test_y.bin")},
    md5={
        "stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb",
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    },
    folder="stl10_binary",
    archive="stl10_binary.tar.gz",
)


def find(root: Path | None) -> Layout | None:
    """The published binary files, as archive or unpacked; the unlabelled images are not looked for.

    Args:
        root: The archive, its unpacked folder, or the folder that holds either.

    Returns:
        The layout, or None if there is none of these.
    """
    if root is None or (location := FILES.locate(root)) is None:
        return None
    return Layout("official files", FILES.paths(location), partial(read, location), FILES.md5)


def read(location: Path, split: str, files: OfficialFiles = FILES) -> ImageArrays:
    """Raw bytes: images channel by channel, each column by column; labels from 1.

    Args:
        location: The archive or the unpacked folder.
        split: 'train' or 'test'.
        files: What was published.

    Returns:
        Images row by row, labels from 0.

    Raises:
        InputError: Files are missing, are not the published ones, or are not whole images.
    """
    pixels, labels = files.contents(location, split).values()
    channels, height, width = SPEC.shape
    if len(pixels) % (channels * height * width):
        name = files.splits[split][0]
        raise InputError(f"{location / name} does not hold whole {width}x{height} images: fetch it again.")
    columns = np.frombuffer(pixels, np.uint8).reshape(-1, channels, width, height)
    return ImageArrays(columns.transpose(0, 1, 3, 2), np.frombuffer(labels, np.uint8).astype(np.int64) - 1)
