"""Verbs that train, in this process, on a few digits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from locallearn.cli.main import main
from locallearn.networks import build
from locallearn.recipes import load

SMALL = ["--training.epochs", "1", "--dataset.validation", "0.9", "--batch-size", "64", "--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *SMALL, "--out", str(folder)]) == 0
    return folder


def last_object(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_train_leaves_a_run_and_ends_with_one_object(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--resume", str(run), "--json"]) == 0
    result = last_object(capsys)
    assert result["test_accuracy"] + result["test_error"] == pytest.approx(100)
    assert 0 < result["peak_bytes"] < result["backprop_peak_bytes"]
    assert result["run"] == str(run) and Path(result["network"]) == run / "network.safetensors"
    assert json.loads((run / "summary.json").read_text())["test_accuracy"] == result["test_accuracy"]
    assert load(run / "recipe.toml").training.epochs == 1


def test_a_second_run_does_not_touch_the_first(run: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["train", *SMALL, "--out", str(run)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_fallen_back_from_when_asked(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (newest,) = (copy / "checkpoints").glob("step-*")
    older = shutil.copytree(newest, newest.with_name("step-00000001"))
    (newest / "network.pt").write_bytes(b"damaged")
    assert main(["train", "--resume", str(copy)]) == 2
    assert f"give --fall-back to set it aside and go on from {older}" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="set aside"):
        assert main(["train", "--resume", str(copy), "--fall-back"]) == 0
    assert not newest.exists() and newest.with_name(f"damaged-{newest.name}").is_dir()


def test_the_run_is_described_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", *SMALL, "--method", "backprop", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().err
    assert told.count("resnet20 in ") == told.count("by backprop") == 1
    assert load("digits").title not in told


def test_evaluate_explains_running_out_of_memory(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("locallearn.training.evaluate", out_of_memory)
    assert main(["evaluate", str(run), "--device", "cpu"]) == 1
    assert "Memory ran out on cpu while batches of 500 were classified" in capsys.readouterr().err


def test_evaluate_gives_the_runs_own_accuracy(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(run), "--device", "cpu", "--json"]) == 0
    result = last_object(capsys)
    assert result["test_accuracy"] == json.loads((run / "summary.json").read_text())["test_accuracy"]
    assert result["images"] == 360


def test_evaluate_refuses_weights_of_another_network(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('"resnet20"', '"resnet32"'))
    assert main(["evaluate", str(copy)]) == 2
    assert "another network" in capsys.readouterr().err


def test_export_writes_the_plain_network_once(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "network.safetensors"
    argv = ["export", str(run), "--out", str(out), "--json"]
    assert main(argv) == 0
    assert last_object(capsys)["network"] == str(out)
    build("resnet20", 10).load_state_dict(load_file(out))
    assert main(argv) == 2
    assert "exists" in capsys.readouterr().err


def test_an_exported_program_computes_what_the_network_does(run: Path, tmp_path: Path):
    out = tmp_path / "network.pt2"
    assert main(["export", str(run), "--out", str(out), "--format", "pt2"]) == 0
    network = build("resnet20", 10)
    network.load_state_dict(load_file(run / "network.safetensors"))
    images = torch.randn(5, 3, 8, 8)
    program = torch.export.load(out).module()
    torch.testing.assert_close(program(images), network.eval()(images))
    assert program(images[:1]).shape == (1, 10)


def test_a_network_that_cannot_be_exported_as_a_program(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("data-dependent branch\nand a long report")

    monkeypatch.setattr(torch.export, "export", fails)
    assert main(["export", str(run), "--out", str(tmp_path / "network.pt2"), "--format", "pt2"]) == 2
    assert "'resnet20' (data-dependent branch): export its weights by --format safetensors." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_several_seeds_give_mean_and_deviation_and_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "seeds"
    assert main(["train", *SMALL, "--method", "backprop", "--seeds", "2", "--out", str(out), "--json"]) == 0
    result = last_object(capsys)
    each = [json.loads((out / f"seed{seed}" / "summary.json").read_text())["test_accuracy"] for seed in (0, 1)]
    assert result["test_accuracies"] == each and result["test_accuracy"] == pytest.approx(sum(each) / 2)
    assert result["test_accuracy_deviation"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
    assert [load(out / f"seed{seed}" / "recipe.toml").seed for seed in (0, 1)] == [0, 1]
    shutil.rmtree(out / "seed1")
    assert main(["train", "--resume", str(out), "--json"]) == 0
    assert last_object(capsys)["test_accuracies"] == each


def test_compare_writes_one_row_for_each_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "compare"
    argv = ["compare", "digits", "--methods", "backprop", "dgl", *SMALL, "--out", str(out), "--json", "--format", "csv"]
    assert main(argv) == 0
    *_, header, backprop, dgl, last = capsys.readouterr().out.splitlines()
    table = json.loads(last)
    assert json.loads((out / "compare.json").read_text()) == table
    assert all((folder / "recipe.toml").is_file() for folder in out.glob("*/"))  # `report OUT/*/` opens all runs
    assert [row["method"] for row in table["methods"]] == ["backprop", "dgl"]
    assert header.split(",") == list(table["methods"][0])
    assert backprop.startswith("backprop,") and dgl.startswith("dgl,")
    first, second = table["methods"]
    assert first["bytes_ratio"] == first["flops_ratio"] == 1
    assert second["bytes_ratio"] < 1 and second["time_ratio"] > 0
    assert (out / "dgl" / "network.safetensors").is_file()
    assert main(argv) == 2


def test_data_that_is_missing_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    argv = ["train", "cifar10_resnet32_dgl", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    assert main(argv) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_signal_stops_a_run_that_says_how_to_go_on(tmp_path: Path):
    out = tmp_path / "run"
    argv = ["train", "--training.epochs", "1000", "--dataset.validation", "0.9", "--device", "cpu", "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "locallearn", *argv], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"locallearn train --resume {out}" in told and "Traceback" not in told
