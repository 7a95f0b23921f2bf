"""`locallearn sweep` as a command: what it prints, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import sys

import pytest

from locallearn.cli.main import main
from locallearn.cli.sweep import resolve
from locallearn.errors import InputError
from locallearn.recipes import save
from locallearn.sweeping import sweep_table
from training.conftest import counted_peaks, loaded, one_thread  # noqa: F401  (fixtures)
from training.tiny_runs import recipe


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(recipe(dataset={"validation": 0.2}, training={"epochs": 1}), tmp_path / "tiny.toml")
    text = 'title = "Rates"\nrecipe = "tiny.toml"\n\n[grid]\n"training.lr" = [0.05, 0.2]\n'
    (tmp_path / "rates.toml").write_text(text)
    return "rates.toml"


def test_a_sweep_prints_its_table_and_goes_on(file, tmp_path, capsys):
    assert main(["sweep", file, "--trials", "1", "--seeds", "2", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split("  ")[0] == "training.lr" and "+-" in out[0] and out[1].startswith("0.05")
    found = json.loads(out[-1])
    assert found["run"] == "runs/rates" and found["best"] == 0 and found["score"] == "validation_accuracy"
    assert [row["run"] for row in found["rows"]] == ["runs/rates/trial-0000"]
    assert (tmp_path / "runs/rates/sweep.svg").is_file() and (tmp_path / "runs/rates/trial-0000/seed4").is_dir()
    assert main(["sweep", "--resume", "--out", "runs/rates", "--trials", "2", "--plot", "chart.png"]) == 0
    assert len(sweep_table(tmp_path / "runs/rates").rows) == 2 and (tmp_path / "chart.png").is_file()
    scores = {row["score"] for row in sweep_table(tmp_path / "runs/rates").rows}
    said = "best validation accuracy: " if len(scores) > 1 else "all trials came to the same validation accuracy: "
    assert said in capsys.readouterr().out


def test_flags_are_laid_over_the_sweep(file):
    words = ["--set", "training.epochs=3", "method.head=linear", "--data", "x", "--device", "cpu", "--seeds", "3"]
    _, sweep = resolve([file, *words])
    assert sweep.set == {"training.epochs": 3, "method.head": "linear", "data": "x", "device": "cpu"}
    assert sweep.seeds == 3 and list(sweep.grid["training.lr"]) == [0.05, 0.2]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "Name a sweep, or give the path of a TOML file: "),
        (["nothing"], "There is no sweep 'nothing'"),
        (["rates.toml", "--set", "training.epochs"], "--set training.epochs has no value"),
        (["rates.toml", "--set", "training.lr=1.0"], "set and swept at once: training.lr"),
        (["rates.toml", "--trials", "0"], "trials = 0"),
        (["--resume", "none"], "holds no sweep"),
        (["rates.toml", "--resume", "none"], "leave rates.toml out"),
        (["--resume", "none", "--seeds", "2"], "leave --seeds out"),
        (["--resume", "none", "--out", "other"], "leave --out other out"),
        (["rates.toml", "--plot", "chart.txt"], "must end in .png, .svg or .pdf"),
        (["rates.toml", "--set", "training.epochs=0"], "training.epochs = 0"),
    ],
)
def test_what_is_refused(argv, words, file, capsys):
    assert main(["sweep", *argv]) == 2
    assert words in capsys.readouterr().err


def test_without_optuna_the_extra_is_named(file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["sweep", file]) == 2
    assert "pip install 'locallearn[sweep]'" in capsys.readouterr().err


def test_under_torchrun_it_is_refused(file, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="without torchrun"):
        resolve([file])


def test_sweeps_are_listed(capsys):
    assert main(["ls", "sweeps", "man", "momentum"]) == 0
    assert "digits_man_momentum" in capsys.readouterr().out
