"""Runs of a detector: interrupted, resumed, tested again and exported, also once the weights it began with are gone."""

from __future__ import annotations

import json
import signal

import pytest
import torch

from locallearn.cli.main import main
from locallearn.datasets import shapes
from locallearn.networks import build
from locallearn.training import train
from locallearn.training.network_file import save_network
from training.test_resume import assert_same
from training.tiny_runs import SignalAt, in_child, recipe

IMAGES = {"train": 9, "test": 3}


@pytest.fixture(autouse=True, scope="module")
def few():
    pytest.importorskip("pycocotools")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "TRAIN_IMAGES", IMAGES["train"])
        patch.setattr(shapes, "TEST_IMAGES", IMAGES["test"])
        yield


def detecting(weights, workers=0):
    options = {"backbone": "slim_resnet10", "image_size": 64, "heads": "small", "weights_backbone": str(weights)}
    return recipe(
        dataset={"name": "shapes", "workers": workers, "augmentation": {}},
        network={"name": "mask_rcnn", "options": options},
        training={"batch_size": 2, "lr": 0.01, "epochs": 2, "checkpoint_every_steps": 3},
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    torch.manual_seed(7)
    save_network(build("slim_resnet10", 5), path, classes=tuple("abcde"), title="body")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, weights):
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, train(detecting(weights), out)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_without_its_first_weights_a_detector_is_bit_identical(finished, weights, tmp_path, workers):
    made, out = detecting(weights, workers), tmp_path / "run"
    aside = tmp_path / "aside"
    assert in_child(lambda: train(made, out, progress=SignalAt(7, signal.SIGKILL))) == -signal.SIGKILL
    weights.rename(aside)
    try:
        assert in_child(lambda: train(made, out, resume=True)) == 0
    finally:
        aside.rename(weights)
    assert_same(out, finished[0])


def test_a_finished_run_needs_its_first_weights_no_more(finished, weights, tmp_path, capsys):
    out, summary = finished
    aside = tmp_path / "aside"
    weights.rename(aside)
    try:
        assert main(["evaluate", str(out), "--device", "cpu", "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_box_ap"] == summary.test_score
        file = tmp_path / "network.safetensors"
        assert main(["export", str(out), "--out", str(file)]) == 0
        assert file.read_bytes() == (out / "network.safetensors").read_bytes()
    finally:
        aside.rename(weights)
