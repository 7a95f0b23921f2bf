"""The papers' runs beyond ResNet-32 and ResNet-110: their networks are built and cut, on tensors without numbers."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from locallearn.cli.main import main
from locallearn.datasets.registry import find_spec
from locallearn.local_model import LocalModel
from locallearn.recipes import checked, published, read
from locallearn.training.assembly import build_model

ELSEWHERE = [name for name in published.names() if published.parsed(name).network not in ("resnet32", "resnet110")]


def built(name: str) -> LocalModel:
    tables = read(name)
    tables["network"].get("options", {}).pop("weights_backbone", None)
    recipe = checked(tables, where=name)
    spec = find_spec(recipe.dataset.name).with_outputs(recipe.dataset.num_classes)
    try:
        with FakeTensorMode():
            return build_model(recipe, spec, torch.device("cpu"))
    except DataDependentOutputException:
        return build_model(recipe, spec, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("imagenet_vgg13_k10_dgl+man", 10),
        ("imagenet_resnet34_k17_mlaan", 28),
        ("imagenet_resnet101_k4_infopro+man", 4),
        ("cifar10_mobilenetv2_k19_auglocal_d3", 17),
        ("cifar10_vgg19_k16_auglocal_d2", 15),
    ],
)
def test_networks_can_be_built_and_cut(name: str, windows: int):
    assert len(built(name).windows) == windows


@pytest.mark.slow
@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_network_can_be_built_and_cut(name: str):
    blocks = published.parsed(name).blocks
    count, joined = len(built(name).partition.blocks), "_mlaan" in name
    assert count == (int(blocks[1:]) - joined if blocks else 1)


@pytest.mark.parametrize(
    "name", ["imagenet_resnet101_k4_infopro", "cityscapes_deeplabv3r101_k4_infopro", "coco_maskrcnnr34_backprop"]
)
def test_training_without_data_says_which_files_are_missing(
    name: str, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", name, "--out", "run"]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in find_spec(published.parsed(name).dataset).files.split()[:1]), told
    assert not (tmp_path / "run").exists()
