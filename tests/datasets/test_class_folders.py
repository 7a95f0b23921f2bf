from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from locallearn.datasets import class_folders
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

Painter = Callable[[int], np.ndarray]


@pytest.fixture
def root(tmp_path: Path, paint: Painter) -> Path:
    number = 0
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for file in ("b.png", "a.PNG"):
                Image.fromarray(paint(number)).save(tmp_path / split / name / file)
                number += 1
    return tmp_path


def problems(root: Path, spec: DatasetSpec) -> str:
    layout = class_folders.find(root, spec)
    assert layout is not None
    return "\n".join(layout.problems)


def test_labels_follow_the_data_set_not_the_alphabet(root: Path, small: DatasetSpec, paint: Painter) -> None:
    layout = class_folders.find(root, small)
    assert layout is not None
    assert not layout.problems
    arrays = layout.read("train")
    assert arrays.labels.tolist() == [0, 0, 1, 1]
    expected = [paint(number).transpose(2, 0, 1) for number in (3, 2, 1, 0)]
    assert np.array_equal(arrays.images, np.stack(expected))


def test_hidden_folders_and_files_are_ignored(root: Path, small: DatasetSpec) -> None:
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / ".ipynb_checkpoints" / "x.png").write_bytes(b"")
    (root / "train" / "cat" / "._a.png").write_bytes(b"")
    assert not problems(root, small)
    assert len(class_folders.read(root / "train", small).images) == 4


def test_classes_that_differ_between_the_splits(root: Path, small: DatasetSpec) -> None:
    (root / "test" / "dog").rename(root / "test" / "hound")
    said = problems(root, small)
    assert f"{root / 'test'} has no folder for dog" in said
    assert f"{root / 'test'} has hound; small has the classes dog, cat" in said
    assert str(root / "train") not in said


def test_empty_missing_and_stray(root: Path, small: DatasetSpec) -> None:
    for path in (root / "train" / "cat").iterdir():
        path.unlink()
    (root / "train" / "dog" / "c.bmp").write_bytes(b"")
    (root / "test").rename(root / "validation")
    said = problems(root, small)
    assert f"{root / 'train' / 'cat'} is empty" in said
    assert str(root / "train" / "dog" / "c.bmp") in said
    assert f"{root / 'test'} is missing" in said


def test_bad_images_are_named(root: Path, small: DatasetSpec) -> None:
    bad = root / "train" / "dog" / "bad.jpg"
    bad.write_bytes((root / "train" / "dog" / "b.png").read_bytes()[:60])
    Image.new("RGB", (9, 9)).save(root / "train" / "cat" / "large.jpeg")
    Image.new("RGBA", (6, 4)).save(root / "train" / "cat" / "clear.png")
    with pytest.raises(InputError) as caught:
        class_folders.read(root / "train", small)
    for said in (
        f"{bad} (",
        "large.jpeg (9x9 pixels instead of 6x4)",
        "clear.png (pixels of kind RGBA",
        "3 of 7 images",
    ):
        assert said in str(caught.value)


def test_grey_images_fill_the_channels(root: Path, small: DatasetSpec, paint: Painter) -> None:
    Image.fromarray(paint(0)[:, :, 0]).save(root / "test" / "dog" / "0.png")
    image = class_folders.read(root / "test", small).images[0]
    assert np.array_equal(image, paint(0)[:, :, 0][None].repeat(3, axis=0))


def test_other_folders_are_none(tmp_path: Path, small: DatasetSpec) -> None:
    (tmp_path / "cat").mkdir()
    assert class_folders.find(tmp_path, small) is None
