"""A tiny ImageNet on disk, trained from end to end: odd sizes, grey and CMYK images, workers, interruption."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from datasets.photographs import WNIDS, write_folders
from datasets.test_imagenet import NAMES, write_parquet
from locallearn.cli.main import main
from locallearn.datasets import parquet_samples
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError, TrainingStopped
from locallearn.recipes.recipe import Recipe
from locallearn.training import assembly, train
from locallearn.training.network_file import load_network
from training.test_resume import assert_same
from training.tiny_runs import SignalAt, convolutions, in_child, recipe


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("imagenet"), train=36, test=18)


def made(data: Path, **training: object) -> Recipe:
    augmentation = {"size": 8, "test_resize": 9, "scale": (0.5, 1.0)}
    return recipe(
        data=str(data),
        dataset={"name": "imagenet", "augmentation": augmentation},
        training={"batch_size": 9, "epochs": 3, "checkpoint_every_steps": 2, "lr": 0.02} | training,
    )


def with_workers(made: Recipe, workers: int) -> Recipe:
    return made.model_copy(update={"dataset": made.dataset.model_copy(update={"workers": workers})})


def last_record(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def test_a_network_learns_the_classes_that_were_found(folders: Path, tmp_path: Path) -> None:
    train(made(folders, epochs=8), tmp_path / "run")
    network = convolutions(3)
    assert load_network(network, tmp_path / "run" / "network.safetensors") == WNIDS
    assert last_record(tmp_path / "run")["test_accuracy"] > 80


def test_compare_checks_and_measures_with_the_classes_that_were_found(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, real = [], assembly.build

    def build(name: str, num_classes: int, **options: object) -> torch.nn.Module:
        built.append(num_classes)
        return real(name, num_classes, **options)

    def cost(recipe: Recipe, spec: DatasetSpec) -> SimpleNamespace:
        assert spec.classes == WNIDS
        return SimpleNamespace(peak_bytes=1, flops=1)

    def ratios(recipes: list[Recipe], spec: DatasetSpec) -> list[float]:
        return [float(len(spec.classes))] * len(recipes)

    fakes = SimpleNamespace(step_cost=cost, time_ratios=ratios)
    monkeypatch.setattr(assembly, "build", build)
    monkeypatch.setitem(sys.modules, "locallearn.training.step_cost", fakes)
    monkeypatch.setattr("locallearn.cli.compare.load", lambda _: made(folders, epochs=1))
    assert main(["compare", "mine", "--methods", "backprop", "dgl", "--out", str(tmp_path / "out")]) == 0
    assert built == [3] * 4
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["methods"]
    assert [(row["peak_bytes"], row["time_ratio"]) for row in rows] == [(1, 3.0)] * 2


def test_compare_without_its_data_says_so_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("locallearn.cli.compare.load", lambda _: made(tmp_path / "gone"))
    assert main(["compare", "mine", "--methods", "backprop", "predsim", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "gone" in told and "--methods" not in told


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_mid_epoch_and_resumed_with_other_workers_is_bit_identical(
    folders: Path, tmp_path: Path, workers: int
) -> None:
    straight = made(folders)
    train(straight, tmp_path / "straight")
    stopped = with_workers(straight, workers)
    run = tmp_path / "run"
    assert in_child(lambda: train(stopped, run, progress=SignalAt(7, signal.SIGKILL))) == -signal.SIGKILL
    train(stopped, run, resume=True)
    assert_same(run, tmp_path / "straight")


@pytest.mark.filterwarnings("ignore:.*too many to keep")
@pytest.mark.parametrize("limit", [0, parquet_samples.IN_MEMORY_BYTES])
def test_parquet_and_folders_of_the_same_images_train_alike(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_samples, "IN_MEMORY_BYTES", limit)
    order = sorted(range(12), key=lambda index: (index % 3, f"{index}.JPEG"))
    write_folders(tmp_path / "folders", train=12, test=6)
    write_parquet(tmp_path / "parquet" / "train.parquet", order)
    write_parquet(tmp_path / "parquet" / "validation.parquet", sorted(range(6), key=lambda index: (index % 3, index)))
    found = []
    for kind in ("folders", "parquet"):
        train(with_workers(made(tmp_path / kind, epochs=2, batch_size=6), 2), tmp_path / f"run-{kind}")
        network = convolutions(3)
        classes = load_network(network, tmp_path / f"run-{kind}" / "network.safetensors")
        found.append((network.state_dict(), classes))
    assert [classes for _, classes in found] == [WNIDS, NAMES]
    for name, tensor in found[0][0].items():
        assert torch.equal(tensor, found[1][0][name]), name


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "data", train=18, test=6)
    path = sorted((root / "train" / WNIDS[1]).iterdir())[0]
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(TrainingStopped, match=f"{path} cannot be used"):
        train(made(root), tmp_path / "run")


def test_class_folders_that_differ_are_told_before_the_first_step(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "data", train=9, test=6)
    (root / "val" / WNIDS[0]).rename(root / "val" / "other")
    with pytest.raises(InputError, match="has no folder for other"):
        train(made(root), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_crop_and_resize_are_checked_together(folders: Path) -> None:
    changes = {"size": 300, "scale": (0.0, 2.0)}
    with pytest.raises(ValidationError) as caught:
        recipe(dataset={"name": "imagenet", "augmentation": changes})
    assert {problem["loc"] for problem in caught.value.errors()} == {
        ("dataset", "augmentation", "size"),
        ("dataset", "augmentation", "scale"),
    }
    with pytest.raises(ValidationError, match="test_resize must be at least size = 230"):
        recipe(dataset={"name": "imagenet", "augmentation": {"size": 230, "test_resize": 229}})
    assert made(folders).dataset.augmentation.options == {"size": 8, "test_resize": 9, "scale": (0.5, 1.0)}
