from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from datasets.photographs import KINDS, WNIDS, photograph, pixels_of, write_folders
from locallearn.datasets import parquet_samples
from locallearn.datasets.imagenet import SPEC, open_splits
from locallearn.datasets.parquet_samples import ParquetSamples, unpack
from locallearn.datasets.resized_crop import ResizedCrop
from locallearn.errors import InputError

NAMES = ("tench, Tinca tinca", "goldfish", "dog")


def said_of(root: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_splits(SPEC, root, download=False, **changes)
    return str(caught.value)


def write_parquet(
    path: Path,
    indices: Sequence[int],
    labels: Sequence[int | None] | None = None,
    *,
    names: Sequence[str] | None = NAMES,
    group: int = 4,
) -> None:
    images = [{"bytes": photograph(index, KINDS[index // 3 % 3]), "path": None} for index in indices]
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": images, "label": [index % 3 for index in indices] if labels is None else labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)} if names else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


@pytest.fixture
def parquet_root(tmp_path: Path) -> Path:
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", range(10))
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", range(10, 21), group=3)
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", range(6))
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", range(3), [-1, -1, -1])
    return tmp_path


def test_what_imagenet_is() -> None:
    assert len(set(SPEC.classes)) == 1000
    assert (SPEC.shape, SPEC.task) == ((3, 224, 224), "classification")
    assert SPEC.mean == (0.485, 0.456, 0.406) and SPEC.std == (0.229, 0.224, 0.225)
    assert SPEC.augmentation == ResizedCrop(size=224, scale=(0.08, 1.0), flip=True, test_resize=256)


@pytest.mark.parametrize("test_name", ["val", "validation", "test"])
def test_folders_are_read_as_torchvision_reads_them(tmp_path: Path, test_name: str) -> None:
    splits = open_splits(SPEC, write_folders(tmp_path, test_name=test_name), download=False)
    assert splits.spec.classes == WNIDS and splits.spec.shape == (3, 224, 224)
    for samples, folder, count in ((splits.train, "train", 12), (splits.test, test_name, 6)):
        theirs = ImageFolder(str(tmp_path / folder))
        assert len(samples) == len(theirs) == count and samples.classes == WNIDS
        for (image, label), (expected, expected_label) in zip(samples, theirs, strict=True):
            assert label == expected_label and image.dtype == torch.uint8
            assert np.array_equal(image.numpy(), np.asarray(expected).transpose(2, 0, 1))


def test_all_problems_of_folders_are_told_at_once(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "val" / WNIDS[0]).rename(tmp_path / "val" / "n09999999")
    (tmp_path / "train" / WNIDS[1] / "notes.txt").write_text("x")
    (tmp_path / "train" / WNIDS[2] / "picture.gif").write_text("x")
    for path in (tmp_path / "val" / WNIDS[1]).iterdir():
        path.unlink()
    said = said_of(tmp_path)
    assert f"{tmp_path / 'train'} has no folder for n09999999" in said
    assert f"{tmp_path / 'val'} has no folder for {WNIDS[0]}" in said
    assert f"{tmp_path / 'val' / WNIDS[1]} is empty" in said
    assert "notes.txt" in said and "picture.gif" in said


def test_validation_images_without_class_folders(tmp_path: Path) -> None:
    write_folders(tmp_path, test=3, test_name="unused")
    (tmp_path / "val").mkdir()
    for index in range(3):
        (tmp_path / "val" / f"ILSVRC2012_val_{index:08}.JPEG").write_bytes(photograph(index))
    said = said_of(tmp_path)
    assert f"{tmp_path / 'val'} holds 3 images but no class folders" in said and "valprep.sh" in said
    assert "no folder for" not in said


def test_missing_folders(tmp_path: Path) -> None:
    assert "does not exist" in said_of(tmp_path / "nothing")
    assert "holds neither class folders nor parquet files" in said_of(tmp_path)
    with pytest.raises(InputError, match="cannot be downloaded"):
        open_splits(SPEC, tmp_path, download=True)
    write_folders(tmp_path, test=0)
    assert f"{tmp_path / 'val'} is missing" in said_of(tmp_path)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        (tmp_path / split / "cat" / "0.jpg").write_bytes(photograph(0))
    assert "at least two classes" in said_of(tmp_path)


def test_images_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_folders(tmp_path, train=9)
    folder = tmp_path / "train" / WNIDS[0]
    paths = sorted(folder.iterdir())
    paths[0].write_bytes(photograph(0)[:-40])
    Image.new("I;16", (9, 9)).save(paths[1], "PNG")
    Image.new("RGB", (9, 9)).save(paths[2], "GIF")
    samples = open_splits(SPEC, tmp_path, download=False).train
    for index, reason in enumerate(("image file is truncated", "pixels of kind I;16", "cannot identify")):
        with pytest.raises(InputError, match=reason) as caught:
            samples[index]
        assert str(paths[index]) in str(caught.value)
    paths[0].unlink()
    with pytest.raises(InputError, match="No such file"):
        samples[0]


def test_a_png_in_disguise_and_transparency(tmp_path: Path) -> None:
    write_folders(tmp_path, train=3)
    path = next((tmp_path / "train" / WNIDS[0]).iterdir())
    path.write_bytes(photograph(0, "RGBA", "PNG"))
    samples = open_splits(SPEC, tmp_path, download=False).train
    assert np.array_equal(samples[0][0].numpy(), pixels_of(photograph(0, "RGB", "PNG")))


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_parquet_rows_in_any_order(parquet_root: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_samples, "IN_MEMORY_BYTES", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = open_splits(SPEC, parquet_root, download=False)
    train = splits.train
    assert splits.spec.classes == train.classes == NAMES and (len(train), len(splits.test)) == (21, 6)
    train = pickle.loads(pickle.dumps(train))
    for index in [*range(21), 20, 0, 11, 9, 10, 3]:
        image, label = train[index]
        assert label == index % 3
        assert np.array_equal(image.numpy(), pixels_of(photograph(index, KINDS[index // 3 % 3])))
    assert len(train._kept) == (7 if limit else 4)
    assert len(pickle.dumps(train)) < 5000
    with pytest.raises(IndexError):
        train[21]


def test_each_row_group_is_read_once_in_order(parquet_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_samples, "IN_MEMORY_BYTES", 0)
    samples = ParquetSamples(sorted((parquet_root / "data").glob("train*")))
    read, reader = [], pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        read.append(group)
        return reader(file, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    assert len(list(samples)) == 21
    assert read == [0, 1, 2, 0, 1, 2, 3]


def test_large_parquet_files_warn_of_random_order(parquet_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_samples, "IN_MEMORY_BYTES", 0)
    with pytest.warns(UserWarning, match="groups of up to 4"):
        open_splits(SPEC, parquet_root, download=False)


def test_parquet_without_names_counts_the_labels(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train" / "0000.parquet", range(6), names=None)
    write_parquet(tmp_path / "val" / "0000.parquet", range(3), names=None)
    assert open_splits(SPEC, tmp_path, download=False).spec.classes == ("0", "1", "2")
    write_parquet(tmp_path / "val" / "0000.parquet", range(3), [0, 1, 999_999_999], names=None)
    said = said_of(tmp_path)
    assert f"{tmp_path} (val) has no images of class 2" in said
    assert f"{tmp_path} (train) has no images of class 999999999" in said
    assert "labels must be 0 to 3, but there is 999999999" in said


def test_parquet_splits_of_different_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", range(6), [0, 1, 2, 3, 0, 1])
    write_parquet(tmp_path / "validation.parquet", range(3), names=("goldfish", "dog", "cat"))
    said = said_of(tmp_path)
    assert "tench, Tinca tinca only in" in said and "cat only in" in said
    assert "(train): labels must be 0 to 2, but there is 3" in said
    write_parquet(tmp_path / "validation.parquet", range(3), [0, -1, -1], names=NAMES[::-1])
    said = said_of(tmp_path)
    assert "in another order" in said and "(validation): labels must be 0 to 2, but there is -1" in said


def test_unlabelled_missing_and_damaged_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", range(3), [0, None, 1])
    write_parquet(tmp_path / "train-1.parquet", range(3), names=NAMES[:2])
    (tmp_path / "train-2.parquet").write_bytes(b"PAR1 nothing PAR1")
    pq.write_table(pa.table({"image": [photograph(0)]}), tmp_path / "train-3.parquet")
    write_parquet(tmp_path / "train-4.parquet", range(3))
    said = said_of(tmp_path)
    assert "train-0.parquet: 1 rows have no label" in said
    assert "train-4.parquet has other classes than" in said
    assert "train-2.parquet cannot be read as parquet" in said
    assert "train-3.parquet has no column 'label'" in said
    assert "none for 'validation'" in said


def test_bad_rows_are_named_by_file_and_row(tmp_path: Path) -> None:
    images = [photograph(0), None, photograph(2)[:200]]
    for name in ("train", "validation"):
        pq.write_table(pa.table({"image": images, "label": [0, 1, 1]}), tmp_path / f"{name}.parquet", row_group_size=2)
    samples = open_splits(SPEC, tmp_path, download=False).train
    assert np.array_equal(samples[0][0].numpy(), pixels_of(images[0] or b""))
    with pytest.raises(InputError, match=r"train.parquet row 1 cannot be used \(no image bytes\)"):
        samples[1]
    with pytest.raises(InputError, match=r"train.parquet row 2 cannot be used"):
        samples[2]


def test_unpacked_images_are_the_same(parquet_root: Path) -> None:
    splits = open_splits(SPEC, parquet_root, download=False)
    for name, samples in (("train", splits.train), ("val", splits.test)):
        assert isinstance(samples, ParquetSamples)
        unpack(samples, parquet_root / "folders" / name)
    again = open_splits(SPEC, parquet_root / "folders", download=False)
    assert again.spec.classes == tuple(f"{label} {name}" for label, name in enumerate(NAMES))
    order = sorted(range(21), key=lambda index: (index % 3, index))
    for index, (image, label) in zip(order, again.train, strict=True):
        assert label == index % 3 and torch.equal(image, splits.train[index][0])
