"""The verb: what it prints, draws and refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from locallearn.analysis import step_profile
from locallearn.cli import main
from locallearn.recipes import save
from training.tiny_runs import recipe


@pytest.fixture
def folders(tmp_path):
    for name in ("dgl", "backprop"):
        (tmp_path / name).mkdir()
        save(recipe(method={"name": name}), tmp_path / name / "recipe.toml")
    return tmp_path


def test_steps_of_runs_that_have_just_begun(folders, figures, capsys):
    words = ["profile", str(folders / "dgl"), str(folders / "backprop"), "--device", "cpu", "--repeats", "1", "--json"]
    charts = ["--plot", str(folders / "memory.svg"), "--times", str(folders / "times.svg")]
    assert main.main([*words, *charts]) == 0
    told = capsys.readouterr().out
    assert "blocks 1 to 2" in told
    found = json.loads(told.splitlines()[-1])["runs"]
    assert found["dgl"]["peak_bytes"] < found["backprop"]["peak_bytes"]
    assert len(found["dgl"]["block_seconds"]) == 2 and min(found["dgl"]["block_seconds"]) > 0
    kept = json.loads((folders / "dgl" / "analysis" / "profile.json").read_text())
    assert kept["block_seconds"] == found["dgl"]["block_seconds"]
    assert "bytes alive (MiB)" in (folders / "memory.svg").read_text()
    highest = [max(line.get_ydata()) * 2**20 for line in figures["memory.svg"].axes[0].lines]
    assert highest == pytest.approx([found["dgl"]["peak_bytes"], found["backprop"]["peak_bytes"]])
    assert "milliseconds" in (folders / "times.svg").read_text()


def test_a_peak_outside_of_all_blocks_is_the_optimizers(folders, monkeypatch, capsys):
    def higher_later(run, counted=step_profile.step_memory):
        found = counted(run)
        return replace(found, peak_bytes=found.peak_bytes + 1)

    words = ["profile", str(folders / "backprop"), "--device", "cpu", "--repeats", "0"]
    monkeypatch.setattr(step_profile, "step_memory", higher_later)
    assert main.main(words) == 0
    told = capsys.readouterr().out
    assert "the optimizer's step" in told and "blocks 1 to 2" not in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--repeats", "-1"], "--repeats must be at least 0"),
        (["--repeats", "0", "--times", "times.svg"], "leave --repeats 0 out"),
        (["--plot", "memory.gif"], ".png, .svg or .pdf"),
    ],
)
def test_what_makes_no_sense_is_refused(folders, monkeypatch, capsys, words, said):
    monkeypatch.chdir(folders)
    assert main.main(["profile", str(folders / "dgl"), *words]) == 2
    assert said in capsys.readouterr().err
