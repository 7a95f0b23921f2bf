from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from locallearn.datasets.spec import Augmentation, DatasetSpec

torch.set_num_threads(1)

Painter = Callable[[int], np.ndarray]


@pytest.fixture
def small() -> DatasetSpec:
    """Two classes whose order is not the alphabet's, images of 4 by 6 pixels."""
    return DatasetSpec(
        name="small",
        title="Small",
        classes=("dog", "cat"),
        shape=(3, 4, 6),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        augmentation=Augmentation(pad=2, padding="reflect", flip=True),
        source="",
        licence="",
        files="",
        address="",
    )


@pytest.fixture
def paint() -> Painter:
    """Image i: (4, 6, 3), different for every i."""
    return lambda index: np.random.RandomState(index).randint(0, 256, (4, 6, 3)).astype(np.uint8)


@pytest.fixture
def png() -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def digit_folders(tmp_path: Path, png: Callable[[np.ndarray], bytes]) -> Path:
    """Class folders of digits, two images per class to train and one to test."""
    for split, count in (("train", 2), ("test", 1)):
        for label in range(10):
            folder = tmp_path / split / str(label)
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.png").write_bytes(png(np.full((8, 8), 10 * label + index, np.uint8)))
    return tmp_path
