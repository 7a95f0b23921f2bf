from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from locallearn.datasets import svhn
from locallearn.datasets.checksums import file_md5
from locallearn.datasets.official_files import OfficialFiles
from locallearn.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in (("train_32x32.mat", 12), ("test_32x32.mat", 1)):
        pixels = np.random.RandomState(count).randint(0, 256, (32, 32, 3, count)).astype(np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        savemat(tmp_path / name, {"X": pixels, "y": labels})
    return tmp_path


def with_md5_of(root: Path) -> OfficialFiles:
    return replace(svhn.FILES, md5={path.name: file_md5(path) for path in root.iterdir()})


def test_images_and_labels(root: Path) -> None:
    train = svhn.read(root, "train", with_md5_of(root))
    pixels = np.random.RandomState(12).randint(0, 256, (32, 32, 3, 12))
    assert train.images.shape == (12, 3, 32, 32)
    assert train.images[7, 2, 30, 5] == pixels[30, 5, 2, 7]
    assert train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert len(svhn.read(root, "test", with_md5_of(root)).images) == 1


def test_another_file_is_refused(root: Path) -> None:
    layout = svhn.find(root)
    assert layout is not None
    with pytest.raises(InputError, match="published file eb5a983be6a315427106f1b164d9cef3"):
        layout.read("test")


@pytest.mark.parametrize("content", [b"", b"no matrix" * 100])
def test_a_file_of_something_else_is_named(root: Path, content: bytes) -> None:
    (root / "test_32x32.mat").write_bytes(content)
    with pytest.raises(InputError, match=r"test_32x32.mat is not an SVHN file"):
        svhn.read(root, "test", with_md5_of(root))


def test_nothing_there(tmp_path: Path) -> None:
    assert svhn.find(tmp_path) is None
