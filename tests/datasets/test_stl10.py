from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from locallearn.datasets import stl10
from locallearn.datasets.checksums import file_md5
from locallearn.datasets.official_files import OfficialFiles
from locallearn.errors import InputError


def upright(count: int) -> np.ndarray:
    return np.random.RandomState(count).randint(0, 256, (count, 3, 96, 96)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for split, count in (("train", 3), ("test", 2)):
        (folder / f"{split}_X.bin").write_bytes(upright(count).transpose(0, 1, 3, 2).tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes([1, 10, 4][:count]))
    return folder


def with_md5_of(folder: Path) -> OfficialFiles:
    return replace(stl10.FILES, md5={path.name: file_md5(path) for path in folder.iterdir()})


def test_columns_become_rows_and_labels_start_at_zero(folder: Path) -> None:
    train = stl10.read(folder, "train", with_md5_of(folder))
    assert np.array_equal(train.images, upright(3))
    assert train.labels.tolist() == [0, 9, 3]
    assert len(stl10.read(folder, "test", with_md5_of(folder)).images) == 2


def test_from_its_archive_without_the_unlabelled_images(folder: Path) -> None:
    archive = folder.parent / "stl10_binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="stl10_binary")
    files = with_md5_of(folder)
    images = stl10.read(archive, "test", replace(files, md5={**files.md5, archive.name: file_md5(archive)})).images
    assert np.array_equal(images, upright(2))


def test_found_without_the_unlabelled_images(folder: Path) -> None:
    layout = stl10.find(folder.parent)
    assert layout is not None
    assert layout.files["train"] == (folder / "train_X.bin", folder / "train_y.bin")
    with pytest.raises(InputError, match="published file 918c2871b30a85fa023e0c44e0bee87f"):
        layout.read("train")


def test_half_an_image_is_refused(folder: Path) -> None:
    with (folder / "test_X.bin").open("ab") as file:
        file.write(b"half")
    with pytest.raises(InputError, match="whole 96x96 images"):
        stl10.read(folder, "test", with_md5_of(folder))
