from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.street_scenes import ids, png, scene
from locallearn.datasets.cityscapes import LABEL_OF, SPEC, open_splits
from locallearn.errors import InputError

torch.set_num_threads(1)
TRAIN_IDS = [*range(19), 255]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cities to train on, one to test on, with maps of label ids."""
    for split, names in {"train": ("aachen_0", "aachen_1", "ulm_0"), "val": ("bonn_0",)}.items():
        for index, name in enumerate(names):
            city = name.partition("_")[0]
            for top, suffix, content in (
                ("leftImg8bit", "leftImg8bit", png(scene(index))),
                ("gtFine", "gtFine_labelIds", png(ids(index, range(34)))),
            ):
                path = tmp_path / top / split / city / f"{name}_{suffix}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        open_splits(SPEC, folder)
    return str(error.value)


def test_the_19_train_ids_are_the_published_ones() -> None:
    published = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    published |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert {key: label for key, label in LABEL_OF.items() if label != 255} == published
    assert len(SPEC.classes) == 19 and set(LABEL_OF) == set(range(34))
    scaled = [round(255 * value, 3) for value in (*SPEC.mean, *SPEC.std)]
    assert scaled == [123.675, 116.28, 103.53, 58.395, 57.12, 57.375]


def test_official_layout(folder: Path) -> None:
    splits = open_splits(SPEC, folder)
    assert len(splits.train) == 3 and splits.validation is None and len(splits.test) == 1
    image, labels = splits.train[2]
    assert np.array_equal(image.permute(1, 2, 0), scene(2))
    assert np.array_equal(labels, np.vectorize(LABEL_OF.get)(ids(2, range(34))))


def test_maps_of_train_ids_are_taken_as_they_are(folder: Path) -> None:
    for index, path in enumerate(sorted((folder / "gtFine" / "train").glob("*/*"))):
        name = path.name.replace("labelIds", "labelTrainIds")
        (path.parent / name).write_bytes(png(ids(index, TRAIN_IDS)))
    splits = open_splits(SPEC, folder)
    assert np.array_equal(splits.train[1][1], ids(1, TRAIN_IDS))
    # The other split has none, and goes on with label ids.
    assert np.array_equal(splits.test[0][1], np.vectorize(LABEL_OF.get)(ids(0, range(34))))


def test_missing_and_stray_maps_are_named(folder: Path) -> None:
    maps = folder / "gtFine"
    (maps / "train" / "ulm" / "ulm_0_gtFine_labelIds.png").unlink()
    shutil.copy(maps / "val/bonn/bonn_0_gtFine_labelIds.png", maps / "val/bonn/bonn_7_gtFine_labelIds.png")
    told = refused(folder)
    assert "1 of 3 images have no map: add" in told and "ulm_0_gtFine_labelIds.png" in told
    assert "Maps have no image" in told and "bonn_7_gtFine_labelIds.png" in told


def test_maps_of_another_size_unknown_ids_and_grey_images_are_named(folder: Path) -> None:
    images, maps = folder / "leftImg8bit" / "train", folder / "gtFine"
    (images / "aachen" / "aachen_0_leftImg8bit.png").write_bytes(png(scene(0), "L"))
    (maps / "train" / "ulm" / "ulm_0_gtFine_labelIds.png").write_bytes(png(ids(2, range(34), width=9)))
    (maps / "val" / "bonn" / "bonn_0_gtFine_labelIds.png").write_bytes(png(ids(0, [34, 200])))
    told = refused(folder)
    assert "aachen_0_leftImg8bit.png has pixels of kind L" in told
    assert "ulm_0_gtFine_labelIds.png is 9x6, its image 8x6" in told
    assert "bonn_0_gtFine_labelIds.png (34, 200)" in told


def test_an_empty_folder_is_told_what_to_hold(tmp_path: Path) -> None:
    told = refused(tmp_path)
    assert all(text in told for text in ("train has no CITY", "val has no CITY", SPEC.address, "--data"))
    with pytest.raises(InputError, match="cannot be downloaded"):
        open_splits(SPEC, tmp_path, download=True)
