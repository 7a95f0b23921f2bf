"""The verbs that look at hidden heads and at local gradients: what they print, keep, draw and refuse."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from locallearn.analysis import opened
from locallearn.cli.main import main
from locallearn.recipes import checked, load
from locallearn.training import train


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs of one epoch on digits, dgl and backprop, on the same blocks."""
    folder = tmp_path_factory.mktemp("runs")
    tables = load("digits").model_dump() | {"device": "cpu"}
    tables["training"] |= {"epochs": 1, "checkpoint_every_steps": 6, "keep_checkpoints": 2}
    tables["training"]["schedule"] = {"name": "cosine"}
    for name in ("dgl", "backprop"):
        train(checked(tables | {"method": {"name": name}}, where="a test's recipe"), folder / name)
    return {name: folder / name for name in ("dgl", "backprop")}


def test_exits(made, tmp_path, figures, capsys):
    words = ["exits", *map(str, made.values()), "--device", "cpu", "--images", "100", "--seed", "2"]
    assert main([*words, "--plot", str(tmp_path / "exits.svg"), "--json"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    dgl, backprop = (told["runs"][name]["exits"] for name in made)
    assert [place["accuracy"] is None for place in dgl] == [False] * 4
    assert [place["accuracy"] is None for place in backprop] == [True] * 3 + [False]
    costs = [place["macs"] for place in dgl]
    assert costs[-1] == backprop[-1]["macs"] and costs == sorted(costs)
    names, cells = (re.split("  +", line) for line in table[:2])
    first, millions = dict(zip(names, cells, strict=True)), dgl[0]["macs"] / 1e6
    assert len(table) >= 9 and float(first["MMACs"]) == pytest.approx(millions, rel=1e-3)
    assert float(first["ensemble's MMACs"]) == pytest.approx(millions, rel=1e-3)
    assert figures["exits.svg"].axes[0].lines[0].get_xdata() == pytest.approx([cost / 1e6 for cost in costs])
    kept = json.loads((made["dgl"] / "analysis" / "exits.json").read_text())
    assert kept["exits"] == dgl
    assert kept["settings"]["images"] == 100 and kept["settings"]["seed"] == 2
    first, last = opened(made["dgl"]).steps
    assert first < last == kept["settings"]["step"]
    drawing = (tmp_path / "exits.svg").read_text()
    assert "backprop" in drawing and "multiply-accumulates" in drawing


def test_agreement(made, tmp_path, figures, capsys):
    words = ["agreement", *map(str, made.values()), "--device", "cpu", "--images", "100", "--batch-size", "50"]
    drawings = ["--plot", str(tmp_path / "depth.svg"), "--plot-steps", str(tmp_path / "steps.svg")]
    assert main([*words, *drawings, "--json"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    dgl, backprop = (json.loads(last)["runs"][name] for name in made)
    assert len(dgl["steps"]) == len(dgl["mean"]) == len(dgl["deviation"]) == len(dgl["inner_mean"]) == 2
    assert all(value == pytest.approx(1, abs=1e-5) for row in backprop["mean"] for value in row)
    assert all(row[0] < 0.99 for row in dgl["mean"]) and len(table) >= 1 + 2 * 2 * 4
    kept = json.loads((made["dgl"] / "analysis" / "agreement.json").read_text())
    assert kept["mean"] == dgl["mean"]
    assert kept["settings"] == {"batch_size": 50, "seed": 0, "batches": 2, "images": 100}
    assert "backprop" in (tmp_path / "depth.svg").read_text() and "dgl" in (tmp_path / "steps.svg").read_text()
    newest = {line.get_label(): line[0].get_ydata().tolist() for line in figures["depth.svg"].axes[0].containers}
    assert newest == {"dgl": dgl["mean"][-1], "backprop": backprop["mean"][-1]}
    assert main([*words[:2], *words[3:], "--plot", str(tmp_path / "one.svg")]) == 0
    assert f"step {dgl['steps'][0]}" in (tmp_path / "one.svg").read_text()


def test_what_is_refused(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bare = tmp_path / "bare"
    shutil.copytree(made["dgl"], bare, ignore=shutil.ignore_patterns("checkpoints"))
    dgl = str(made["dgl"])
    for words, told in (
        (["exits", str(bare)], "has no checkpoint"),
        (["agreement", str(bare), dgl], "has no checkpoint"),
        (["agreement", dgl, "--images", "10"], "10 images make no batch of 128: give more by --images"),
        (["agreement", dgl, "--images", "None", "--batch-size", "5000"], "fewer than a batch of 5000"),
        (["agreement", dgl, "--plot-steps", "steps.gif"], ".png, .svg or .pdf"),
        (["exits", dgl, dgl], "named twice"),
        (["exits"], "at least one run"),
    ):
        assert main([*words, "--device", "cpu"]) == 2
        assert told in capsys.readouterr().err
