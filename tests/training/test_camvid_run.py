"""A tiny CamVid on disk, trained and tested from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from datasets.street_scenes import png, scene, write_parquet
from locallearn.cli import evaluate as verb
from locallearn.errors import InputError
from locallearn.recipes.load import load
from locallearn.recipes.recipe import Recipe
from locallearn.training import train
from training.tiny_runs import recipe

torch.set_num_threads(1)


def bright(height: int, width: int, seed: int) -> tuple[bytes, bytes]:
    """Road (3) where the image is bright, sky (0) where it is dark, void between."""
    image, labels = scene(seed, height, width) // 3, np.zeros((height, width), np.uint8)
    column = 4 + seed % 5
    image[:, column:] += 170
    labels[:, column:] = 3
    labels[:, column] = 11
    return png(image), png(labels)


def network(num_classes: int) -> nn.Module:
    layers = [nn.Sequential(nn.Conv2d(a, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()) for a in (3, 6)]
    return nn.Sequential(*layers, nn.Conv2d(6, num_classes, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("camvid")
    for split, count in {"train": 12, "val": 3, "test": 4}.items():
        pairs = [bright(12, 14, seed) for seed in range(count)]
        write_parquet(root / f"{split}.parquet", *map(list, zip(*pairs, strict=True)))
    return root


def made(folder: Path) -> Recipe:
    augmentation = {"crop": (8, 8), "size": (12, 12), "scale": (0.8, 1.25), "photometric": False}
    return Recipe.model_validate(
        {
            "device": "cpu",
            "data": str(folder),
            "dataset": {"name": "camvid", "augmentation": augmentation},
            "network": {"name": "training.test_camvid_run:network"},
            "partition": {"num_blocks": 2},
            "method": {"name": "dgl"},
            "training": {"batch_size": 4, "epochs": 12, "lr": 0.1, "schedule": {"name": "poly"}},
        }
    )


def results(run: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, float]:
    capsys.readouterr()
    verb.run([str(run), "--json", *flags])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_learns_and_is_tested_at_one_scale_and_at_several(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(made(folder), run)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["score"] == "mean_iou" and last["test_mean_iou"] > 80 and last["validation_mean_iou"] > 80
    single = results(run, capsys)
    assert single["test_mean_iou"] == last["test_mean_iou"] and single["images"] == 4
    several = results(run, capsys, "--scales", "0.5", "1", "1.5", "--flip")
    assert several["test_mean_iou"] > 60
    assert results(run, capsys, "--scales", "0.1")["test_mean_iou"] < 60  # one pixel, hence one class for all


def test_only_segmentation_takes_scales(tmp_path: Path) -> None:
    train(recipe(), tmp_path / "run")
    with pytest.raises(InputError, match="digits is for classification"):
        verb.run([str(tmp_path / "run"), "--flip"])


def test_the_recipe_is_complete() -> None:
    found = load("camvid_deeplabv3")
    assert found.dataset.augmentation.options["crop"] == (180, 240)
    assert found.method.build().base.decoder == "segmentation"  # type: ignore[attr-defined]
