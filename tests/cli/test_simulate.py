"""The verb: what it prints, draws and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from locallearn.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
COSTS = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def costs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "costs.json").write_text(COSTS)
    return ["simulate", "--costs", "costs.json"]


def test_the_page_shows_what_is_printed(costs, capsys):
    (command,) = re.findall(r"```sh\nlocallearn (simulate --costs [^\n]*)\n```", PAGE)
    assert main.main(command.split()) == 0
    assert capsys.readouterr().out.strip() == re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1].strip()


def test_a_picture_and_json(costs, capsys):
    assert main.main([*costs, "--workers", "2", "8", "--out", "figure.svg", "--memory", "60MB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["workers"] for row in found["predictions"]] == [2, 8] * 4
    assert found["predictions"][0]["stages"] == len(found["predictions"][0]["bytes_per_worker"]) == 2
    assert "local learning" in Path("figure.svg").read_text()
    Path("costs.json").write_text(json.dumps(found["costs"]))
    assert main.main([*costs, "--workers", "2", "--out", "figure.svg"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_recipe_is_measured_without_data(tmp_path, capsys):
    words = ["simulate", "digits", "--workers", "2", "1024", "--repeats", "1", "--batch-size", "8", "--data", "nowhere"]
    assert main.main([*words, "--network.name", "resnet20", "--num-blocks", "3", "--json"]) == 0
    told = capsys.readouterr().out
    assert "dgl in 3 blocks, batch 8; links of 10 Gb/s and 10 us" in told
    found = json.loads(told.splitlines()[-1])
    assert len(found["costs"]["blocks"]) == 3 and found["costs"]["batch_size"] == 8
    assert all(block["forward"] > 0 and block["update"] > 0 for block in found["costs"]["blocks"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "--workers must be at least 1"),
        (["--micro-batches", "4", "0", "--queue", "0"], "--queue must be at least 1"),
        (["--stages", "5"], "5 stages"),
        (["--bandwidth", "0"], "bandwidth"),
        (["--memory", "lots"], "no amount of memory"),
        (["--out", "figure.gif"], ".png, .svg or .pdf"),
        (["--batch-size", "8"], "leave out the recipe"),
        (["--costs", "missing.json"], "cannot be read"),
    ],
)
def test_refusals(costs, words, said, capsys):
    assert main.main([*costs, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_recipe_beside_costs_is_refused(costs, capsys):
    assert main.main(["simulate", "digits", *costs[1:]]) == 2
    assert "leave out the recipe" in capsys.readouterr().err
