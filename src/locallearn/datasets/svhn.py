"""SVHN, cropped digits."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np

from locallearn.datasets.arrays import ImageArrays
from locallearn.datasets.layout import Layout
from locallearn.datasets.official_files import OfficialFiles
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.errors import InputError

SPEC = DatasetSpec(
    name="svhn",
    title="Street View House Numbers, cropped digits",
    classes=tuple("0123456789"),
    shape=(3, 32, 32),
    mean=(127.5 / 255,) * 3,
    std=(127.5 / 255,) * 3,
    augmentation=Augmentation(pad=2, padding="zeros", flip=False),
    source="Y. Netzer et al.: Reading Digits in Natural Images, 2011; constants: InfoPro's train.py",
    licence="non-commercial use only",
    files="train_32x32.mat and test_32x32.mat",
    address="http://ufldl.stanford.edu/housenumbers/",
    notes="Trained on the 73,257 images of 'train'; the 'extra' images are not used.",
)

FILES = OfficialFiles(
    splits={"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)},
    md5={
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
)


def find(root: Path | None) -> Layout | None:
    """The published MATLAB files.

    Args:
        root: The folder that holds them.

    Returns:
        The layout, or None if there is none of them.
    """
    if root is None or (location := FILES.locate(root)) is None:
        return None
    return Layout("official files", FILES.paths(location), partial(read, location), FILES.md5)


def read(location: Path, split: str, files: OfficialFiles = FILES) -> ImageArrays:
    """One MATLAB file: `X` (height, width, channels, N) and `y` (N, 1), in which 10 stands for the digit 0.

    Args:
        location: The folder.
        split: 'train' or 'test'.
        files: What was published.

    Returns:
        Images and labels, the digit 0 labelled 0.

    Raises:
        InputError: The file is missing, is not the published one, or holds something else.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    ((name, content),) = files.contents(location, split).items()
    try:
        matrices = loadmat(io.BytesIO(content), variable_names=("X", "y"))
        images = np.asarray(matrices["X"], np.uint8).transpose(3, 2, 0, 1)
        labels = np.asarray(matrices["y"], np.int64).reshape(-1)
    except (ValueError, LookupError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(f"{location / name} is not an SVHN file ({error}): fetch it again.") from error
    return ImageArrays(images, np.where(labels == 10, 0, labels))
