"""Detectors trained from recipes, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from datasets.coco_writer import write_coco
from locallearn.datasets import shapes
from locallearn.datasets.batching import evaluation_batches
from locallearn.datasets.image_set import Splits
from locallearn.errors import InputError
from locallearn.networks import build
from locallearn.recipes import checked, load
from locallearn.tasks.named import task_of
from locallearn.training.evaluation import evaluate
from locallearn.training.train import train

pytest.importorskip("pycocotools")
torch.set_num_threads(1)
COCO128 = Path(__file__).parents[3] / "shared" / "data" / "coco128"


def recipe(options=(), **changes):
    """The built-in recipe with a shallower body, for a few images."""
    tables = load("shapes_mask_rcnn").model_dump(exclude_none=True)
    tables["network"]["options"] |= {"backbone": "slim_resnet10", "image_size": 64} | dict(options)
    tables["training"] |= {"epochs": 2, "batch_size": 4, "evaluate_every": 2, "schedule": {"name": "constant"}}
    return checked(tables | changes, where="test")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(shapes, "TRAIN_IMAGES", 12)
    monkeypatch.setattr(shapes, "TEST_IMAGES", 5)


def test_the_built_in_recipe_trains_evaluates_and_leaves_a_plain_network(few, tmp_path):
    train(recipe(), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"test_box_ap", "test_box_ap50", "test_box_ap75", "test_mask_ap"} <= lines[-1].keys()
    network = build("mask_rcnn", 3, backbone="slim_resnet10", image_size=64, heads="small")
    network.load_state_dict(load_file(tmp_path / "run" / "network.safetensors"))


class Oracle(nn.Module):
    """Finds what the batches to come are known to hold, shifted."""

    def __init__(self, targets, shift):
        super().__init__()
        self.targets, self.shift = iter(targets), shift

    def forward(self, images):
        found = []
        for image in images:
            target = next(self.targets)
            assert target["masks"].shape[1:] == image.shape[1:] and image.dtype == torch.float32
            found.append(
                {
                    "boxes": target["boxes"] + self.shift,
                    "labels": target["labels"],
                    "scores": torch.ones(len(target["labels"])),
                    "masks": target["masks"][:, None].roll(self.shift, -1).float(),
                }
            )
        return found


@pytest.mark.parametrize("shift", [0, 1])
def test_a_detector_that_knows_the_targets_has_all_points(shift):
    images = shapes.Shapes(count=7, size=64, largest=48)
    batches = evaluation_batches(images, 3, spec=shapes.SPEC, device=torch.device("cpu"))
    targets = [target for _, batch in batches.epoch(0) for target in batch]
    found = evaluate(Oracle(targets, shift), batches, task_of(shapes.SPEC).metric())
    assert set(found) == {f"{kind}_{name}" for kind in ("box", "mask") for name in ("ap", "ap50", "ap75")}
    assert all((value == pytest.approx(100)) == (shift == 0) for name, value in found.items() if name.endswith("_ap"))


def test_boxes_alone_are_refused_for_mask_rcnn_before_training(few, tmp_path):
    write_coco(Splits(shapes.SPEC, shapes.Shapes(count=2), None, shapes.Shapes(count=1)), tmp_path)
    for split in ("train", "val"):
        file = tmp_path / "annotations" / f"instances_{split}.json"
        tables = json.loads(file.read_text())
        for each in tables["annotations"]:
            del each["segmentation"]
        file.write_text(json.dumps(tables))
    with pytest.raises(InputError, match=r"instances_train\.json has no outlines.*take retinanet"):
        train(recipe(dataset={"name": "coco"}, data=str(tmp_path)), tmp_path / "run")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not COCO128.is_dir(), reason="needs coco128 beside the checkout")
@pytest.mark.filterwarnings("ignore:There is one annotation file")
def test_the_loss_falls_on_real_images(tmp_path):
    changed = recipe(
        {"image_size": 128},
        dataset={"name": "coco"},
        data=str(COCO128),
        training={"epochs": 3, "evaluate_every": 3, "batch_size": 8, "optimizer": "adamw", "lr": 1e-3,
                  "schedule": {"name": "constant"}},
    )  # fmt: skip
    train(changed, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    first, last = ([block["loss"] for block in lines[epoch]["blocks"]] for epoch in (0, -1))
    assert all(after < before for before, after in zip(first, last, strict=True)) and "test_box_ap50" in lines[-1]
