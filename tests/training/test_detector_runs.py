"""Detectors trained from recipes, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from locallearn.datasets import shapes
from locallearn.networks import build
from locallearn.recipes import checked, load
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
