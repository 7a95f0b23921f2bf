from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.street_scenes import ids, png, scene, write_parquet
from locallearn.datasets import camvid
from locallearn.datasets.camvid import SPEC, open_splits
from locallearn.errors import InputError

torch.set_num_threads(1)
LEGAL = range(12)
DATA = Path(__file__).parents[3] / "shared" / "data" / "camvid"
COUNTS = {"train": 3, "val": 2, "test": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in COUNTS.items():
        scenes = [png(scene(index)) for index in range(count)]
        write_parquet(
            tmp_path / f"{split}.parquet",
            scenes,
            [png(ids(index, LEGAL)) for index in range(count)],
            ",".join(SPEC.classes),
        )
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        open_splits(SPEC, folder)
    return str(error.value)


def test_splits_are_what_the_files_hold(folder: Path) -> None:
    splits = open_splits(SPEC, folder)
    assert splits.validation is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [3, 2, 1]
    image, labels = splits.train[1]
    assert image.dtype == torch.uint8 and np.array_equal(image.permute(1, 2, 0), scene(1))
    wanted = ids(1, LEGAL)
    wanted[wanted == 11] = 255
    assert labels.dtype == torch.int64 and np.array_equal(labels, wanted)
    again = pickle.loads(pickle.dumps(splits.train))
    assert torch.equal(again[2][0], splits.train[2][0]) and again.classes == SPEC.classes


def test_shards_are_read_in_order(folder: Path) -> None:
    (folder / "train.parquet").rename(folder / "train-00001-of-00002.parquet")
    write_parquet(folder / "train-00000-of-00002.parquet", [png(scene(9))], [png(ids(9, LEGAL))])
    splits = open_splits(SPEC, folder)
    assert len(splits.train) == 4 and np.array_equal(splits.train[0][0].permute(1, 2, 0), scene(9))


def test_everything_wrong_is_told_at_once(folder: Path) -> None:
    good, mask = png(scene(0)), png(ids(0, LEGAL))
    write_parquet(
        folder / "train.parquet",
        [good, png(scene(1), "L"), png(scene(2), "RGBA"), good, b"no image"],
        [None, mask, mask, png(ids(3, LEGAL, height=5)), mask],
    )
    write_parquet(folder / "val.parquet", [good, good], [mask, png(ids(1, [3, 40, 77]))])
    write_parquet(folder / "test.parquet", [good], [png(scene(0))])
    told = refused(folder)
    for sentence in (
        "5 of 5 images or their maps cannot be used",
        "train.parquet row 0, annotation 0.png cannot be read as an image (it is missing)",
        "row 1, image 1.jpg has pixels of kind L instead of 8-bit colour",
        "row 2, image 2.jpg has pixels of kind RGBA",
        "row 3, annotation 3.png is 8x5, its image 8x6",
        "row 4, image 4.jpg cannot be read as an image",
        "val.parquet row 1, annotation 1.png (40, 77)",
        "legal ids are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "test.parquet row 0, annotation 0.png has pixels of kind RGB instead of 8-bit class ids",
    ):
        assert sentence in told, sentence


def test_ids_of_maps_that_were_not_looked_at_are_refused_when_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locallearn.datasets.annotated_images._MOST_PIXELS", 1)
    masks = [png(ids(0, LEGAL)), png(ids(1, [99])), png(ids(2, LEGAL))]
    write_parquet(folder / "train.parquet", [png(scene(index)) for index in range(3)], masks)
    splits = open_splits(SPEC, folder)
    with pytest.raises(InputError, match=r"train.parquet row 1, annotation 1.png holds 99; legal ids are 0"):
        _ = splits.train[1]


def test_missing_files_and_columns_are_named(folder: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "val.parquet").unlink()
    told = refused(folder)
    assert "has no val.parquet" in told and SPEC.files in told and SPEC.address in told
    pq.write_table(pa.table({"img": [b""]}), folder / "val.parquet")
    assert "needs a column 'annotation' of structs with 'bytes'; its columns are ['img']" in refused(folder)
    (folder / "val.parquet").write_bytes(b"PAR1")
    assert "cannot be read as parquet" in refused(folder)
    write_parquet(folder / "val.parquet", [], [])
    assert "val.parquet" in refused(folder)
    with pytest.raises(InputError, match="cannot be downloaded from here"):
        open_splits(SPEC, tmp_path / "nowhere", download=True)


def test_other_classes_are_refused(folder: Path) -> None:
    write_parquet(folder / "val.parquet", [png(scene(0))], [png(ids(0, LEGAL))], "cat,dog")
    assert "has the classes cat,dog; camvid has sky,building" in refused(folder)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="no CamVid beside the checkout")
def test_the_real_one() -> None:
    splits = open_splits(SPEC, DATA)
    assert splits.validation is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [367, 101, 233]
    image, labels = splits.test[7]
    assert image.shape == (3, 360, 480) and labels.shape == (360, 480)
    assert set(labels.unique().tolist()) <= {*range(11), 255}
    assert len(camvid.LABEL_OF) == 12
