from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from locallearn.datasets import parquet
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

Encoder = Callable[[np.ndarray], bytes]
Painter = Callable[[int], np.ndarray]


def write(path: Path, encoded: list[bytes | None], labels: list[Any], **changes: Any) -> None:
    images = [{"bytes": content, "path": "x.png"} for content in encoded]
    columns = {changes.get("image", "img"): images, changes.get("label", "label"): labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(changes.get("metadata")), path)


@pytest.mark.parametrize("image", ["img", "image"])
def test_images_and_labels_in_the_order_of_the_rows(
    tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder, image: str
) -> None:
    encoded = [png(paint(index)) for index in range(600)]
    write(tmp_path / "train.parquet", encoded, [index % 2 for index in range(600)], image=image)
    arrays = parquet.read((tmp_path / "train.parquet",), small)
    assert np.array_equal(arrays.images, np.stack([paint(index).transpose(2, 0, 1) for index in range(600)]))
    assert arrays.labels.tolist() == [0, 1] * 300
    assert arrays.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["train.parquet"], ["test.parquet"]),
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            ["data/test-00000-of-00001.parquet"],
        ),
        (["plain_text/train/0000.parquet"], ["plain_text/test/0000.parquet"]),
    ],
)
def test_where_files_are_found(
    tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder, train: list[str], test: list[str]
) -> None:
    for index, name in enumerate([*train, *test, ".hidden/train.parquet", "extra.parquet"]):
        write(tmp_path / name, [png(paint(index))], [0])
    layout = parquet.find(tmp_path, small)
    assert layout is not None
    assert not layout.problems
    assert layout.files == {
        "train": tuple(tmp_path / name for name in train),
        "test": tuple(tmp_path / name for name in test),
    }
    assert np.array_equal(layout.read("train").images[-1], paint(len(train) - 1).transpose(2, 0, 1))
    assert np.array_equal(layout.read("test").images[0], paint(len(train)).transpose(2, 0, 1))


def test_a_missing_split_is_told(tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder) -> None:
    write(tmp_path / "train.parquet", [png(paint(0))], [0])
    layout = parquet.find(tmp_path, small)
    assert layout is not None
    assert "none for 'test'" in layout.problems[0]
    assert parquet.find(tmp_path / "nothing", small) is None


def test_images_as_plain_bytes(tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder) -> None:
    pq.write_table(pa.table({"image": [png(paint(4))], "label": [1]}), tmp_path / "train.parquet")
    assert np.array_equal(parquet.read((tmp_path / "train.parquet",), small).images[0], paint(4).transpose(2, 0, 1))


def test_bad_images_are_named_by_row_up_to_ten(
    tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder
) -> None:
    good = png(paint(0))
    encoded: list[bytes | None] = [good] * 300
    for row in range(270, 282):
        encoded[row] = good[:40]
    encoded[3] = None
    encoded[4] = png(np.zeros((6, 4, 3), np.uint8))
    write(tmp_path / "train.parquet", encoded, [0] * 300)
    with pytest.raises(InputError) as caught:
        parquet.read((tmp_path / "train.parquet",), small)
    said = str(caught.value)
    assert said.startswith("14 of 300 images cannot be used")
    assert f"{tmp_path / 'train.parquet'} row 3 (no image bytes)" in said
    assert "row 4 (4x6 pixels instead of 6x4)" in said
    assert "row 277" in said
    assert "row 278" not in said
    assert said.endswith("and 4 more.")


def test_missing_columns_are_named_with_what_is_there(
    tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder
) -> None:
    write(tmp_path / "train.parquet", [png(paint(0))], [0], image="picture", label="fine_label")
    with pytest.raises(InputError) as caught:
        parquet.read((tmp_path / "train.parquet",), small)
    assert "no column 'img' or 'image'; its columns are picture, fine_label" in str(caught.value)
    assert "no column 'label'" in str(caught.value)


def test_columns_of_another_type_are_refused(tmp_path: Path, small: DatasetSpec) -> None:
    pq.write_table(pa.table({"img": [[1, 2]], "label": ["cat"]}), tmp_path / "train.parquet")
    with pytest.raises(InputError) as caught:
        parquet.read((tmp_path / "train.parquet",), small)
    assert "'img' is list" in str(caught.value)
    assert "'label' is string; give integers" in str(caught.value)


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": "cat,dog"},
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"]}}}})},
    ],
)
def test_class_names_in_another_order_are_refused(
    tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder, metadata: dict[str, str]
) -> None:
    write(tmp_path / "train.parquet", [png(paint(0))], [0], metadata=metadata)
    with pytest.raises(InputError, match="has the classes cat, dog; small has dog, cat"):
        parquet.read((tmp_path / "train.parquet",), small)


def test_class_names_that_agree(tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder) -> None:
    write(tmp_path / "train.parquet", [png(paint(0))], [0], metadata={"classes": "dog,cat"})
    assert len(parquet.read((tmp_path / "train.parquet",), small).images) == 1


def test_rows_without_label(tmp_path: Path, small: DatasetSpec, paint: Painter, png: Encoder) -> None:
    write(tmp_path / "train.parquet", [png(paint(0))] * 3, [0, None, 1])
    with pytest.raises(InputError, match=r"1 rows have no label; the first is .*train.parquet row 1"):
        parquet.read((tmp_path / "train.parquet",), small)


def test_a_damaged_file_is_named(tmp_path: Path, small: DatasetSpec) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(InputError, match=r"train.parquet cannot be read as parquet"):
        parquet.read((tmp_path / "train.parquet",), small)
