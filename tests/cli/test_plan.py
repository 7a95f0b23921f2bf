"""The verb: what it prints, draws and refuses."""

from __future__ import annotations

import json

import pytest
from torch import nn

from locallearn.cli import main
from locallearn.networks import build

SMALL = ["plan", "--network", "resnet20", "--input", "3", "16", "16", "--batch-size", "32"]


def small_deeplab(num_classes):
    return build("deeplabv3", num_classes, backbone="resnet18")


def small_detector(num_classes):
    return build("mask_rcnn", num_classes, backbone="slim_resnet10", heads="small")


def pixels(num_classes):
    layers = [layer for _ in range(2) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.Conv2d(3, num_classes, 1))


def test_a_plan_with_picture_and_json(tmp_path, capsys):
    picture = tmp_path / "memory.svg"
    assert main.main([*SMALL, "--num-blocks", "4", "--plot", str(picture), "--json"]) == 0
    told = capsys.readouterr().out
    assert "resnet20, dgl in 4 blocks (10 units)" in told and "micro-batches" in told
    found = json.loads(told.splitlines()[-1])
    assert len(found["blocks"]) == 4 and found["peak_bytes"] < found["rivals"][0]["peak_bytes"]
    drawn = picture.read_text()
    assert "backprop" in drawn and "gradients" in drawn and "bytes alive" in drawn


def test_a_network_that_labels_pixels_is_planned_so(capsys):
    words = ["plan", "--network", "cli.test_plan:small_deeplab", "--classes", "5", "--input", "3", "32", "32"]
    assert main.main([*words, "--batch-size", "2", "--num-blocks", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["network"] == "DeepLabV3"
    words[2] = "cli.test_plan:pixels"
    assert main.main([*words, "--batch-size", "2", "--num-blocks", "2", "--json"]) == 0
    one, two = json.loads(capsys.readouterr().out.splitlines()[-1])["blocks"]
    assert one["auxiliary_bytes"] > 0 and two["auxiliary_bytes"] == 0


def test_a_detector_is_not_planned(capsys):
    words = ["plan", "--network", "cli.test_plan:small_detector", "--input", "3", "64", "64", "--batch-size", "2"]
    assert main.main(words) == 2
    assert "MaskRCNN is a detector" in capsys.readouterr().err


def test_a_picture_is_not_overwritten_unasked(tmp_path, capsys):
    picture = tmp_path / "memory.png"
    picture.write_text("mine")
    assert main.main([*SMALL, "--num-blocks", "2", "--plot", str(picture)]) == 2
    assert "--overwrite" in capsys.readouterr().err and picture.read_text() == "mine"
    assert main.main([*SMALL, "--num-blocks", "2", "--plot", str(picture), "--overwrite"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_budget_that_does_not_fit_says_what_would_help(capsys):
    assert main.main([*SMALL, "--num-blocks", "2", "--budget", "6MiB", "--json"]) == 1
    told = capsys.readouterr().out
    assert "does NOT fit into 6.0 MiB" in told and "--batch-size" in told and "--precision bf16" in told
    assert not json.loads(told.splitlines()[-1])["budget"]["fits"]


def test_a_budget_that_fits_names_the_cuts(capsys):
    assert main.main([*SMALL, "--budget", "8MiB"]) == 0
    told = capsys.readouterr().out
    assert "fits into 8.0 MiB with" in told and "--split-points" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plot", "nowhere/plan.png"], "no folder"),
        (["--plot", "plan.gif9"], ".png, .svg or .pdf"),
        (["--budget", "lots"], "no amount of memory"),
        (["--network", "resnet11O"], "resnet110"),
        (["--num-blocks", "99"], "10 units"),
        (["--method", "mlaan", "--num-blocks", "0"], "at least 1"),
        (["--method.head", "lineal"], "did you mean linear"),
    ],
)
def test_refusals(words, said, capsys):
    assert main.main([*SMALL, *words]) == 2
    assert said in capsys.readouterr().err


def test_help_says_what_it_is(capsys):
    assert main.main(["plan", "--help"]) == 0
    assert "--budget" in capsys.readouterr().out
