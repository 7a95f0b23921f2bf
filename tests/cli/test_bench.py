"""The verb from its command line to its files, here and where most libraries are missing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from locallearn.benchmarking import measure
from locallearn.benchmarking.memory import StepMemory
from locallearn.cli import main as entry

TINY = ["--network", "benchmarking.tiny:network", "--input", "3", "8", "8", "--classes", "3", "--batch-size", "8"]
FILE = "bench_benchmarking.tiny-network_cpu.json"
BARE = """
import sys

MISSING = {"pydantic", "pydantic_core", "tyro", "rich", "pyarrow", "sklearn", "scipy", "safetensors", "tomli_w",
           "torchvision", "matplotlib", "PIL"}

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *place):
        return None if name.partition(".")[0] in MISSING else self.finder.find_spec(name, *place)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import locallearn
from locallearn.cli.main import main
assert locallearn.DGL and locallearn.LocalModel
sys.exit(main(sys.argv[1:]))
"""


def bench(tmp_path, *words):
    return entry.main(["bench", *TINY, "--out", str(tmp_path), *words])


def content(tmp_path):
    return json.loads((tmp_path / FILE).read_text(encoding="utf-8"))


@pytest.fixture
def counted(monkeypatch):
    """Rows counted, without the work; plain PyTorch keeps 100 bytes, all others 50."""
    found = []

    def count(row, setting, form):
        found.append((row.name, row.precision))
        size = 100 if row.method is None else 50
        return StepMemory(bytes_saved=size, bytes_alive=2 * size, cuda_peak=None, flops=4 * size)

    monkeypatch.setattr(measure, "step_memory", count)
    return found


def bare(*argv):
    return subprocess.run([sys.executable, "-c", BARE, *argv], check=False, capture_output=True, text=True, timeout=300)


def test_memory_and_time_from_the_command_line(tmp_path, capsys):
    assert bench(tmp_path, "--rows", "dgl", "--precision", "fp32", "--rounds", "1", "--no-time") == 0
    assert "| dgl, lean in_place | fp32 |" in capsys.readouterr().out
    found = content(tmp_path)
    assert found["memory"]["batch_size"] == 8 and found["time"] is None
    by_name = {row["row"]: row for row in found["rows"]}
    assert by_name["plain PyTorch"]["memory"]["bytes_alive_ratio"] == 1
    assert 0 < by_name["dgl"]["memory"]["bytes_alive_ratio"] < 1
    assert by_name["dgl, lean in_place"]["execution"] == {"lean": "in_place"}
    assert bench(tmp_path, "--no-memory", "--method", "dgl", "--rows", "dgl", "--rounds", "1", "--json",
                 "--out", str(tmp_path / "own")) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = told["results"]["benchmarking.tiny:network"]["rows"]
    assert [row["row"] for row in rows] == ["plain PyTorch", "dgl"] * 2
    assert rows[0]["time"]["time_ratio"] == 1 and rows[1]["time"]["seconds"] > 0 and rows[1]["memory"] is None


def test_nothing_is_overwritten_unasked_and_a_run_goes_on_where_it_stopped(tmp_path, counted, capsys):
    words = ["--no-time", "--rows", "dgl", "--precision", "bf16"]
    assert bench(tmp_path, *words) == 0
    first, before = list(counted), content(tmp_path)
    assert bench(tmp_path, *words) == 2
    assert "--resume" in capsys.readouterr().err and counted == first
    interrupted = json.loads(json.dumps(before))
    interrupted["rows"][-1]["memory"] = None
    (tmp_path / FILE).write_text(json.dumps(interrupted), encoding="utf-8")
    assert bench(tmp_path, *words, "--resume") == 0
    assert counted == [*first, first[-1]] and content(tmp_path)["rows"] == before["rows"]
    assert bench(tmp_path, *words, "--overwrite") == 0
    assert counted == [*first, first[-1], *first]


def test_a_run_of_other_rows_or_code_is_not_continued(tmp_path, counted, capsys):
    assert bench(tmp_path, "--no-time", "--rows", "dgl", "--precision", "fp32") == 0
    assert bench(tmp_path, "--no-time", "--rows", "predsim", "--precision", "fp32", "--resume") == 2
    assert "has another" in capsys.readouterr().err
    found = content(tmp_path)
    found["memory"]["commit"] = "older"
    (tmp_path / FILE).write_text(json.dumps(found), encoding="utf-8")
    assert bench(tmp_path, "--no-time", "--rows", "dgl", "--precision", "fp32", "--resume") == 2
    assert "another commit" in capsys.readouterr().err


def test_a_row_that_cannot_run_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def count(row, setting, form):
        if row.name == "predsim":
            raise torch.OutOfMemoryError("too large")
        return StepMemory(bytes_saved=1, bytes_alive=1, cuda_peak=None, flops=1)

    monkeypatch.setattr(measure, "step_memory", count)
    assert bench(tmp_path, "--no-time", "--rows", "predsim", "--precision", "fp32") == 0
    assert "predsim (fp32): too large" in capsys.readouterr().out
    assert [row["refused"] for row in content(tmp_path)["rows"]] == [None, "too large", None, None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-memory", "--no-time"], "nothing to measure"),
        (["--resume", "--overwrite"], "not both"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--rows", "dgll"], "Did you mean 'dgl'"),
        (["--device", "gpu"], "no device"),
        (["--execution.lean", "in_place"], "give --method"),
        (["--roundz", "3"], "--rounds"),
    ],
)
def test_refusals(tmp_path, words, said, capsys):
    assert bench(tmp_path, *words) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_it_runs_where_other_libraries_are_missing(tmp_path):
    done = bare("bench", "--network", "resnet20", "--input", "3", "8", "8", "--num-blocks", "2", "--batch-size", "4",
                "--rows", "dgl, lean in_place", "--no-time", "--precision", "fp32", "--out", str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bench_resnet20_cpu.json").exists()


def test_help_and_messages_where_other_libraries_are_missing():
    assert "locallearn bench" in bare("bench", "--help").stdout
    overview = bare("--help")
    assert overview.returncode == 0 and "  train " in overview.stdout and "  bench " in overview.stdout
    refused = bare("train")
    assert refused.returncode == 2 and "which is not installed: pip install" in refused.stderr
