"""Every committed result of `locallearn bench`: complete, consistent, and what the code counts today."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path

import pytest

from locallearn.benchmarking.memory import step_memory
from locallearn.benchmarking.rows import PLAIN_NAME, ROWS
from locallearn.benchmarking.sides import BatchForm, Setting

FILES = sorted((Path(__file__).parent.parent / "benchmarks" / "results").glob("bench_*.json"))
HEAD = {
    "benchmark": str, "network": str, "input_shape": list, "num_classes": int, "num_blocks": int, "balance": str,
    "split_points": None, "preset": None, "optimizer": str, "device": str, "memory": dict, "time": dict, "rows": list,
}  # fmt: skip
STAMP = {"command": str, "commit": str, "machine": dict, "versions": dict, "batch_size": int, "channels_last": bool}
SECTIONS = {"memory": STAMP, "time": STAMP | {"rounds": int, "cudnn_benchmark": bool}}
ROW = {
    "row": str, "precision": str, "method": str, "execution": dict, "cut": str, "memory": dict, "time": dict,
    "refused": str,
}  # fmt: skip
FIGURES = ("bytes_saved", "bytes_alive", "cuda_peak", "flops")
TIMES = {"seconds": float, "images_per_second": float, "time_ratio": float, "quartiles": list, "over_fp32": float}


def has(found, kinds, *, optional=()):
    """Exactly these keys, each of its type; None where that is allowed."""
    assert found.keys() == kinds.keys()
    for key, kind in kinds.items():
        allowed = found[key] is None and (kind is None or key in optional)
        assert allowed or type(found[key]) is kind, (key, found[key])


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def content(request):
    return json.loads(request.param.read_text(encoding="utf-8")) | {"path": request.param}


def test_there_are_results_of_both_networks():
    assert {"bench_resnet32_cpu.json", "bench_resnet110_cpu.json"} <= {path.name for path in FILES}


def test_heads_say_how_each_half_was_measured(content):
    path = content.pop("path")
    has(content, HEAD, optional=("time",))
    assert content["benchmark"] == path.stem
    for name, kinds in SECTIONS.items():
        if content[name] is not None:
            has(content[name], kinds)
            commit = content[name]["commit"]
            assert len(commit) == 12 and int(commit, 16) >= 0, "measured on changed or unknown code"
            assert content[name]["command"].startswith("locallearn bench")
            assert content[name]["machine"].keys() == {"processor", "threads", "system", "accelerator"}
            assert content[name]["versions"].keys() == {"python", "torch", "locallearn"}


def test_rows_are_whole_and_their_ratios_agree(content):
    plain = {row["precision"]: row for row in content["rows"] if row["row"] == PLAIN_NAME}
    keys = [(row["row"], row["precision"]) for row in content["rows"]]
    assert len(set(keys)) == len(keys)
    for row in content["rows"]:
        has(row, ROW, optional=("method", "cut", "memory", "time", "refused"))
        assert row["refused"] is None and row["memory"] is not None
        assert (row["time"] is None) == (content["time"] is None)
        memory, base = row["memory"], plain[row["precision"]]["memory"]
        assert memory.keys() == {*FIGURES, *(f"{name}_ratio" for name in FIGURES)}
        for name in FIGURES:
            if memory[name] is None or base[name] is None:
                assert memory[f"{name}_ratio"] is None
            else:
                assert memory[f"{name}_ratio"] == round(memory[name] / base[name], 5)
        if row["time"] is not None:
            has(row["time"], TIMES)
            lower, upper = row["time"]["quartiles"]
            assert lower <= row["time"]["time_ratio"] <= upper
            per_second = content["time"]["batch_size"] / row["time"]["seconds"]
            assert row["time"]["images_per_second"] == pytest.approx(per_second, rel=0.01)


def test_rows_are_those_of_the_code(content):
    known = {(row.name, row.precision): row for row in ROWS}
    assert {(row["row"], row["precision"]) for row in content["rows"]} == known.keys()
    for row in content["rows"]:
        method = known[row["row"], row["precision"]].method
        assert row["method"] == (None if method is None else _as_measured(repr(method)))


def _as_measured(method):
    """Without the fields that came after the measurement, whose defaults change nothing on these networks."""
    for later in ("tokens='mean', ", "decoder='cifar', "):
        method = method.replace(later, "")
    return method


@pytest.mark.slow
def test_two_drawn_memory_rows_are_counted_again(content):
    seed = datetime.date.today().isoformat()
    countable = [row for row in content["rows"] if row["memory"]["bytes_alive"] is not None]
    drawn = random.Random(seed).sample(countable, 2)
    known = {(row.name, row.precision): row for row in ROWS}
    setting = Setting(
        network=content["network"], input_shape=tuple(content["input_shape"]), num_blocks=content["num_blocks"]
    )
    form = BatchForm(size=content["memory"]["batch_size"], channels_last=content["memory"]["channels_last"])
    for row in drawn:
        print(f"drawn by {seed}: {row['row']}, {row['precision']}")
        counted = step_memory(known[row["row"], row["precision"]], setting, form)
        for name in ("bytes_saved", "bytes_alive", "flops"):
            assert getattr(counted, name) == pytest.approx(row["memory"][name], rel=0.01), (row["row"], name)
