from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.coco_writer import write_coco
from locallearn.datasets import coco
from locallearn.datasets.coco_file import read_coco
from locallearn.datasets.coco_images import CocoImages
from locallearn.datasets.image_set import Splits
from locallearn.datasets.shapes import SPEC as SHAPES
from locallearn.datasets.shapes import Shapes
from locallearn.errors import InputError

pytest.importorskip("pycocotools")
torch.set_num_threads(1)
COCO128 = Path(__file__).parents[3] / "shared" / "data" / "coco128"


def content() -> dict[str, list[dict[str, Any]]]:
    """Three images of 40x30 pixels: two objects; a crowd alone; nothing. Category ids have gaps."""
    images = [{"id": 10 * i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in range(3)]
    polygon = [[4.0, 4, 14, 4, 14, 24, 4, 24]]
    runs = {"counts": [0, 60, 1140], "size": [30, 40]}
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 7, "bbox": [4, 4, 10, 20], "segmentation": polygon, "iscrowd": 0},
        {"id": 2, "image_id": 0, "category_id": 3, "bbox": [0, 0, 2, 30], "segmentation": runs, "iscrowd": 0},
        {"id": 3, "image_id": 10, "category_id": 3, "bbox": [0, 0, 2, 30], "segmentation": dict(runs), "iscrowd": 1},
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "b"}, {"id": 3, "name": "a"}],
    }


def written(root: Path, tables: dict[str, Any], mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split in ("train2017", "val2017"):
        (root / split).mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(tables))
        for index in range(3):
            pixels = np.random.RandomState(index).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / split / f"{index}.png")
    return root


def opened(root: Path) -> Splits:
    return coco.open_splits(coco.SPEC, root)


def test_official_layout(tmp_path: Path) -> None:
    splits = opened(written(tmp_path, content()))
    assert splits.spec.classes == ("a", "b") == splits.train.classes and splits.validation is None
    # Images with crowds alone or without objects are tested on, but not trained on.
    assert (len(splits.train), len(splits.test)) == (1, 3)
    pixels, target = splits.train[0]
    assert torch.equal(pixels.permute(1, 2, 0), torch.from_numpy(np.random.RandomState(0).randint(0, 256, (30, 40, 3))))
    assert target["boxes"].tolist() == [[4, 4, 14, 24], [0, 0, 2, 30]] and target["labels"].tolist() == [2, 1]
    assert target["image_id"] == 0 and "iscrowd" not in target
    expected = torch.zeros(2, 30, 40, dtype=torch.uint8)
    expected[0, 4:24, 4:14], expected[1, :, :2] = 1, 1
    assert torch.equal(target["masks"], expected)


def test_the_description_names_the_eighty_classes() -> None:
    assert len(set(coco.SPEC.classes)) == 80 and min(map(len, coco.SPEC.classes)) > 1


def test_crowds_are_marked_for_testing(tmp_path: Path) -> None:
    test = opened(written(tmp_path, content())).test
    assert test[0][1]["iscrowd"].tolist() == [0, 0] and test[1][1]["iscrowd"].tolist() == [1]
    assert test[1][1]["image_id"] == 10
    nothing = test[2][1]
    assert nothing["boxes"].shape == (0, 4) and nothing["masks"].shape == (0, 30, 40)


def test_crowds_beside_other_objects_are_left_out_of_training(tmp_path: Path) -> None:
    splits = opened(written(tmp_path, changed("annotations", 2, image_id=0)))
    assert splits.train[0][1]["labels"].tolist() == [2, 1] and len(splits.train[0][1]["masks"]) == 2
    assert splits.test[0][1]["iscrowd"].tolist() == [0, 0, 1]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    shapes = Splits(SHAPES, Shapes(count=5), None, Shapes(count=3, split=1))
    write_coco(shapes, tmp_path)
    splits = opened(tmp_path)
    assert splits.spec.classes == SHAPES.classes
    for read, drawn in ((splits.train, shapes.train), (splits.test, shapes.test)):
        assert len(read) == len(drawn)
        for index in range(len(read)):
            (pixels, target), (expected, truth) = read[index], drawn[index]
            assert torch.equal(pixels, expected)
            assert all(torch.equal(target[name], truth[name]) for name in truth)


def test_one_file_is_trained_and_tested_on_and_says_so(tmp_path: Path) -> None:
    written(tmp_path, content())
    (tmp_path / "annotations" / "instances_train2017.json").rename(tmp_path / "annotations" / "instances.json")
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    (tmp_path / "train2017").rename(tmp_path / "images")
    with pytest.warns(UserWarning, match="its images are trained on and tested on"):
        splits = opened(tmp_path)
    assert torch.equal(splits.train[0][0], splits.test[0][0])


def test_files_without_outlines_have_no_masks(tmp_path: Path) -> None:
    tables = content()
    for annotation in tables["annotations"]:
        del annotation["segmentation"]
    train = opened(written(tmp_path, tables)).train
    assert "masks" not in train[0][1] and str(train) == str(tmp_path / "annotations" / "instances_train2017.json")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_images_of_other_kinds_become_colour(tmp_path: Path, mode: str) -> None:
    assert opened(written(tmp_path, content(), mode=mode)).train[0][0].shape == (3, 30, 40)


def test_boxes_are_cut_at_the_border_and_empty_ones_left_out(tmp_path: Path) -> None:
    tables = content()
    tables["annotations"][0]["bbox"] = [-1, 25, 10, 8]
    tables["annotations"][1]["bbox"] = [3, 3, 0, 8]
    with pytest.warns(UserWarning, match="1 boxes of no width or height are left out: 2"):
        splits = opened(written(tmp_path, tables))
    assert splits.train[0][1]["boxes"].tolist() == [[0, 25, 9, 30]]


def changed(table: str, index: int, **fields: Any) -> dict[str, Any]:
    tables = content()
    tables[table][index] |= fields
    return tables


BAD = {
    "absent image": (changed("annotations", 1, image_id=99), "1 annotations belong to images that .* not list: 2"),
    "unknown category": (changed("annotations", 0, category_id=4), "have a category that the file does not list: 1"),
    "outside": (changed("annotations", 0, bbox=[40, 4, 10, 20]), "have a box outside of their image: 1"),
    "negative": (changed("annotations", 0, bbox=[4, 4, -10, 20]), "have no box .*: 1"),
    "no numbers": (changed("annotations", 0, bbox=[4, 4, 10, float("nan")]), "have no box .*: 1"),
    "no box": (changed("annotations", 0, bbox=None), "have no box .*: 1"),
    "no outline": (changed("annotations", 0, segmentation=[]), "have no outline .*: 1"),
    "short outline": (changed("annotations", 0, segmentation=[[1, 2, 3, 4]]), "an outline that is none.*: 1"),
    "other size": (
        changed("annotations", 1, segmentation={"counts": [0, 60], "size": [20, 3]}),
        "or of another size than their image: 2",
    ),
    "short runs": (
        changed("annotations", 1, segmentation={"counts": [0, 60], "size": [30, 40]}),
        "an outline that is none.*: 2",
    ),
    "negative runs": (
        changed("annotations", 1, segmentation={"counts": [0, 1260, -60], "size": [30, 40]}),
        "an outline that is none.*: 2",
    ),
    "fractional runs": (
        changed("annotations", 1, segmentation={"counts": [0, 59.5, 1140.5], "size": [30, 40]}),
        "an outline that is none.*: 2",
    ),
    "no runs": (
        changed("annotations", 1, segmentation={"counts": None, "size": [30, 40]}),
        "an outline that is none.*: 2",
    ),
    "short string": (
        changed("annotations", 1, segmentation={"counts": "0l1", "size": [30, 40]}),
        "an outline that is none.*: 2",
    ),
    "words": (
        changed("annotations", 0, segmentation=[["4", 4, 14, 4, 14, 24]]),
        "an outline that is none.*: 1",
    ),
    "not a number": (
        changed("annotations", 0, segmentation=[[4, 4, float("nan"), 4, 14, 24]]),
        "an outline that is none.*: 1",
    ),
    "far polygon": (
        changed("annotations", 0, segmentation=[[4, 4, 1e12, 4, 14, 24]]),
        "an outline that is none.*: 1",
    ),
    "missing file": (changed("images", 0, file_name="gone.png"), "1 images are missing in .*train2017: gone.png"),
    "same id": (changed("images", 1, id=0), "images have the id of another: 1.png"),
    "image size": (changed("images", 0, height=31), "0.png is 40x30, its annotations are for 40x31"),
    "no name": (changed("categories", 0, name=None), "no list of categories, each with id, name"),
    "same category": (changed("categories", 0, id=3), "two of the same id"),
    "no list": ({"images": 3}, "no list of images"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotations_are_named(tmp_path: Path, case: str) -> None:
    tables, message = BAD[case]
    if case == "image size":
        # The outline's size is that of the image as stated.
        tables["annotations"][1]["segmentation"] = {"counts": [0, 62, 1178], "size": [31, 40]}
    with pytest.raises(InputError, match=message):
        opened(written(tmp_path, tables))


def test_outlines_that_cannot_be_painted_are_named(tmp_path: Path) -> None:
    written(tmp_path, content())
    read = read_coco(tmp_path / "annotations" / "instances_train2017.json", tmp_path / "train2017")
    image = read.images[0]
    spoilt = image.objects[1]._replace(outline={"counts": ["a"], "size": [30, 40]})
    bad = replace(read, images=(image._replace(objects=(image.objects[0], spoilt)),))
    with pytest.raises(InputError, match=r"annotation 2 on .*train2017/0\.png cannot be painted"):
        CocoImages(bad, training=True)[0]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    tables = changed("annotations", 0, category_id=4)
    tables["annotations"][1]["image_id"] = 99
    with pytest.raises(InputError) as caught:
        opened(written(tmp_path, tables))
    assert str(caught.value).count("\n- ") == 4


def test_files_that_are_no_json_or_no_images(tmp_path: Path) -> None:
    written(tmp_path, content())
    (tmp_path / "train2017" / "0.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"0\.png cannot be read as an image"):
        opened(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").write_bytes(b"\xff{")
    with pytest.raises(InputError, match=r"instances_val2017\.json cannot be read as JSON"):
        opened(tmp_path)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    written(tmp_path, content())
    Image.fromarray(np.zeros((30, 40), np.uint16)).save(tmp_path / "train2017" / "0.png")
    with pytest.raises(InputError, match="pixels of kind I;16"):
        opened(tmp_path)


def test_missing_files_and_several(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no instances_train\*\.json(.|\n)*Put annotations"):
        opened(tmp_path)
    written(tmp_path, content())
    (tmp_path / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(InputError, match=r"has 2 files instances_train\*\.json"):
        opened(tmp_path)


def test_splits_of_other_categories_are_refused(tmp_path: Path) -> None:
    written(tmp_path, content())
    other = content() | {"categories": [{"id": 7, "name": "c"}, {"id": 3, "name": "a"}]}
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="list different categories"):
        opened(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not COCO128.is_dir(), reason="needs coco128 beside the checkout")
@pytest.mark.filterwarnings("ignore:There is one annotation file")
def test_coco128() -> None:
    splits = opened(COCO128)
    assert splits.spec.classes == coco.SPEC.classes
    assert len(splits.test) == 128 and sum(len(splits.test[i][1]["labels"]) for i in range(0, 128, 8)) > 50
    pixels, target = splits.train[0]
    assert pixels.shape == (3, 480, 640) and target["masks"].shape[1:] == (480, 640)
