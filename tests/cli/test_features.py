"""The verb: what it prints, draws and refuses."""

from __future__ import annotations

import json

import pytest
import torch

from locallearn.cli import main
from locallearn.datasets import digits
from locallearn.training import train
from training.tiny_runs import recipe


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("dgl", "backprop"):
        train(recipe(method={"name": name}, training={"epochs": 1}), folder / name)
    return folder


def test_runs_are_drawn_beside_each_other(folders, tmp_path, figures, capsys):
    words = ["features", str(folders / "dgl"), str(folders / "backprop"), "--images-at", "3", "17", "--channels", "2"]
    assert main.main([*words, "--plot", str(tmp_path / "features.svg"), "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["images_at"] == [3, 17]
    assert list(found["runs"]) == ["dgl", "backprop"]
    assert [(row["block"], row["shape"], len(row["channels"])) for row in found["runs"]["dgl"]["blocks"]] == [
        (1, [4, 8, 8], 2),
        (2, [4, 8, 8], 2),
    ]
    drawing = (tmp_path / "features.svg").read_text()
    for words in ("test image 17", "backprop", "brought to its own range", "of largest variance"):
        assert words in drawing
    picture = torch.tensor(figures["features.svg"].axes[0].images[0].get_array())
    torch.testing.assert_close(picture, torch.tensor(digits.read("test").images[3]).movedim(0, -1) / 255)
    kept = json.loads((folders / "dgl" / "analysis" / "features.json").read_text())
    assert kept["blocks"] == found["runs"]["dgl"]["blocks"] and kept["settings"]["images_at"] == [3, 17]


def test_channels_and_blocks_that_were_named_are_shown(folders, tmp_path, capsys):
    words = ["features", str(folders / "dgl"), "--channel-numbers", "2", "0", "--blocks", "2", "--device", "cpu"]
    assert main.main([*words, "--images", "3", "--seed", "5", "--plot", str(tmp_path / "features.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    drawn = torch.randperm(len(digits.read("test").labels), generator=torch.Generator().manual_seed(5))[:3]
    assert found["images_at"] == sorted(drawn.tolist())
    assert found["runs"] == {"dgl": {"blocks": [{"block": 2, "shape": [4, 8, 8], "channels": [2, 0]}]}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images-at", "3", "-1", "99999"], "There is no test image 99999"),
        (["--channel-numbers", "4"], "no channel 4"),
        (["--blocks", "3"], "no block 3"),
        (["--channels", "0"], "--channels must be at least 1"),
        (["--plot", "features.gif"], ".png, .svg or .pdf"),
    ],
)
def test_what_is_not_there_is_refused(folders, monkeypatch, tmp_path, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main.main(["features", str(folders / "dgl"), "--device", "cpu", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
