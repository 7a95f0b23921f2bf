from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import locallearn.datasets
from locallearn.datasets import cifar10
from locallearn.datasets.loading import load
from locallearn.datasets.registry import SPECS
from locallearn.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


def test_digits_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    splits = locallearn.datasets.load("digits")
    assert (len(splits.train), splits.validation, len(splits.test)) == (1437, None, 360)
    assert splits.train.images.shape[1:] == splits.spec.shape
    assert splits.test.classes == tuple("0123456789")
    assert not list(tmp_path.iterdir())


def test_validation_is_held_out_of_training() -> None:
    whole, splits, again = (
        load("digits"),
        load("digits", validation=0.1, seed=5),
        load("digits", validation=0.1, seed=5),
    )
    assert splits.validation is not None
    assert again.validation is not None
    assert (len(splits.train), len(splits.validation)) == (1293, 144)
    assert torch.equal(splits.validation.images, again.validation.images)
    assert set(splits.validation.labels.bincount().tolist()) <= {13, 14, 15}
    both = torch.cat([splits.train.images, splits.validation.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), whole.train.images.flatten(1).unique(dim=0))
    assert torch.equal(splits.test.images, whole.test.images)
    other = load("digits", validation=0.1, seed=6).validation
    assert other is not None
    assert not torch.equal(other.images, splits.validation.images)


def test_class_folders_of_any_data_set(digit_folders: Path) -> None:
    splits = load("digits", digit_folders)
    assert (len(splits.train), len(splits.test)) == (20, 10)
    assert splits.train.images[:, 0, 0, 0].tolist() == [10 * label + index for label in range(10) for index in range(2)]
    assert splits.train.labels.tolist() == [label for label in range(10) for _ in range(2)]


def test_more_outputs_than_classes(digit_folders: Path) -> None:
    splits = load("digits", digit_folders, num_classes=100)
    assert len(splits.spec.classes) == len(splits.train.classes) == len(splits.test.classes) == 100
    assert splits.spec.classes[9:11] == ("9", "unused-10")
    with pytest.raises(InputError, match="num_classes must be at least 10, the classes of digits, not 9"):
        load("digits", digit_folders, num_classes=9)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_validation(share: float) -> None:
    with pytest.raises(InputError, match="validation must be"):
        load("digits", validation=share)


def test_problems_of_both_splits_are_told_at_once(digit_folders: Path) -> None:
    for split in ("train", "test"):
        Image.new("L", (9, 9)).save(digit_folders / split / "3" / "large.png")
    with pytest.raises(InputError) as caught:
        load("digits", digit_folders)
    lines = str(caught.value).strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("- 1 of ") and "9x9 pixels instead of 8x8" in line for line in lines)


def test_missing_classes_are_told_before_reading(digit_folders: Path) -> None:
    shutil.rmtree(digit_folders / "train" / "4")
    shutil.rmtree(digit_folders / "test" / "5")
    with pytest.raises(InputError, match=r"train has no folder for 4\.\n- .*test has no folder for 5\."):
        load("digits", digit_folders)


def test_labels_outside_the_classes(tmp_path: Path) -> None:
    names = (*cifar10.BINARY.splits["train"], *cifar10.BINARY.splits["test"])
    for name in names:
        (tmp_path / name).write_bytes(np.full((2, 3073), 10, np.uint8).tobytes())
    with pytest.raises(
        InputError, match=r"\(train\): labels must be 0 to 9, but there is 10 at image 0, 10 at image 1"
    ):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(("name", "fetchable"), [("cifar10", True), ("svhn", False), ("stl10", False)])
def test_no_folder_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fetchable: bool) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load(name)
    said = str(caught.value)
    assert str(Path("data") / name) in said
    assert SPECS[name].files in said
    assert SPECS[name].address in said
    assert ("--dataset.download" in said) == fetchable


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no files that are read"):
        load("svhn", tmp_path)


def test_what_cannot_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be downloaded from here\. Put train_32x32.mat"):
        load("svhn", tmp_path, download=True)


def test_download_only_if_nothing_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(cifar10, "download", asked.append)
    with pytest.raises(InputError, match="does not exist"):
        load("cifar10", tmp_path / "new", download=True)
    assert asked == [tmp_path / "new"]
    for name in (*cifar10.BINARY.splits["train"], *cifar10.BINARY.splits["test"]):
        (tmp_path / name).write_bytes(bytes(3073))
    assert len(load("cifar10", tmp_path, download=True).train) == 5
    assert len(asked) == 1


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the data is not beside the checkout")
def test_real_images_from_parquet() -> None:
    splits = load("cifar10", SHARED)
    assert splits.train.labels.bincount().tolist() == [5000] * 10
    assert splits.test.labels.bincount().tolist() == [1000] * 10
    mean = splits.train.images.to(torch.float32).mean((0, 2, 3)) / 255
    torch.testing.assert_close(mean, torch.tensor(splits.spec.mean), rtol=0, atol=0.002)
