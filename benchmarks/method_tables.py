"""What the methods' own pages take from docstrings, result files and recipes."""

from __future__ import annotations

import inspect
import re
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.benchmark_tables import published
from benchmarks.result_files import NETWORKS, bench, measured, result, saved

from locallearn.benchmarking.rows import PLAIN_NAME
from locallearn.benchmarking.table import MIB, markdown
from locallearn.methods import METHODS
from locallearn.recipes import published as papers

QUALITIES = {"test_accuracy": "accuracy", "test_mean_iou": "mean IoU", "test_box_ap50": "box AP50"}
"""What held-out images are judged by, the first that a row has."""
WHAT = {
    "analyses": "CIFAR-10, ResNet-32, 625 steps of 64",
    "camvid": "CamVid, DeepLabV3-ResNet-18",
    "digits_vit": "digits, ViT-tiny",
    "learning_check": "CIFAR-10, ResNet-32, 626 steps",
    "precision_runs": "bf16 beside fp32",
    "shapes": "generated shapes, Mask R-CNN",
    "training": "short training runs",
}
"""Result files in words."""
_STEP = (
    "Bytes alive at the peak of a step, batch 1024, 32x32 images, fp32, and what is saved of plain PyTorch's; time "
    "over plain PyTorch's on a CPU."
)


def source(name: str) -> str:
    """Where a method comes from.

    Args:
        name: Of the method.

    Returns:
        Markdown.
    """
    return f"Source: {_section(name, 'Source')}"


def departures(name: str) -> str:
    """In what a method differs from paper and released code, point by point.

    Args:
        name: Of the method.

    Returns:
        A numbered list.
    """
    text = re.sub(r":math:`([^`]*)`", r"$\1$", _section(name, "Departures"))
    points = re.split(r"(?<=[.)])\s+(?=[A-Z`\"])", text)
    return "\n".join(f"{number}. {point}" for number, point in enumerate(points, start=1))


def _section(name: str, heading: str) -> str:
    doc = inspect.getdoc(METHODS[name]) or ""
    found = re.search(rf"^{heading}: (.*?)(?=^\S+:|\n\n|\Z)", doc, flags=re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"the docstring of {METHODS[name].__name__} has no section {heading}")
    return " ".join(found[1].split())


def results(name: str) -> str:
    """A method's figures of memory, time and learning, ours beside those of papers and released code.

    Args:
        name: Of the method.

    Returns:
        Markdown.
    """
    parts = [
        (_STEP, _memory(name)),
        ("What our runs learn, on held-out images.", _learned(name)),
        ("Test error that papers print on CIFAR-10, in percent.", _printed(name)),
    ]
    return "\n\n".join(f"**{title}**\n\n{table}" for title, table in parts if table)


def _is_of(name: str, method: str) -> bool:
    """Whether a method as rows call it is this one, perhaps over a base."""
    outermost = method.partition(",")[0].rpartition("+")[2]
    return outermost == name


def _memory(name: str) -> str:
    rows = []
    for network in NETWORKS:
        found = bench(network)
        figures = published()
        for row in found["rows"]:
            plain_row = row["row"] == PLAIN_NAME and name == "backprop"
            if row["precision"] != "fp32" or not (plain_row or _is_of(name, row["row"])):
                continue
            memory, time = row["memory"], row["time"] or {}
            if memory["bytes_alive"] is None:
                continue
            theirs = figures["official"][network].get(row["row"])
            printed = [each for each in figures["saving"] if each["network"] == network and row["row"] in each["rows"]]
            rows.append(
                [
                    f"{network}, {row['row']}",
                    f"{memory['bytes_alive'] / MIB:,.1f} MiB",
                    f"{theirs:,.1f} MiB" if theirs else "",
                    saved(memory["bytes_alive_ratio"]),
                    f"{printed[0]['percent']:.1f} % ({printed[0]['source']})" if printed else "",
                    f"{time['time_ratio']:.2f}" if time else "",
                ]
            )
    header = ["", "ours", "released code", "saved", "saved, as papers print", "time"]
    return _without_empty(header, rows)


def _learned(name: str) -> str:
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for file, row in _rows_that_learn():
        if _is_of(name, row.get("method", row["name"])):
            runs.setdefault((file, row["name"].rpartition("-seed")[0] or row["name"]), []).append(row)
    rows = []
    for (file, run), alike in runs.items():
        quality = next(each for each in QUALITIES if each in _last(alike[0]))
        values = [_last(row)[quality] for row in alike]
        deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        rows.append(
            [
                f"{WHAT.get(file, file)}: {run}",
                str(alike[0]["num_blocks"]),
                str(alike[0]["epochs"]),
                str(len(values)),
                f"{QUALITIES[quality]} {statistics.fmean(values):.2f}{deviation} %",
                _papers_accuracy(file, run, alike[0]),
            ]
        )
    header = ["run", "K", "epochs", "seeds", "ours", "papers, 400 epochs"]
    return _without_empty(header, rows)


def _rows_that_learn() -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of all result files that say how well a run did."""
    for file in measured("*"):
        for row in result(file)["rows"]:
            if "name" in row and QUALITIES.keys() & _last(row).keys() and row.get("num_blocks"):
                yield file, row


def _last(row: dict[str, Any]) -> dict[str, Any]:
    return row.get("last", row)


def _papers_accuracy(file: str, run: str, row: dict[str, Any]) -> str:
    """What is printed for ResNet-32 on CIFAR-10 in as many blocks, where the run is one of it."""
    method = row.get("method", "")
    if (file, run) != ("learning_check", method) and run != f"cifar10-resnet32-{method}":
        return ""
    blocks = "" if method == "backprop" else f"_k{row['num_blocks']}"
    recipe = f"cifar10_resnet32{blocks}_{method}"
    errors = _errors(recipe) if recipe in papers.names() else {}
    return ", ".join(f"{100 - value:.2f} % ({paper})" for value, paper in errors.items())


def _printed(name: str) -> str:
    """Errors of the runs on CIFAR-10 ResNets without ablations."""
    rows = []
    for recipe in papers.names():
        run = papers.parsed(recipe)
        plain = run.variant in ("", "contrast", "softmax", "160epochs") or re.fullmatch(r"d\d", run.variant)
        if run.dataset == "cifar10" and run.network in NETWORKS and plain and _is_of(name, run.method):
            errors = _errors(recipe)
            if errors:
                rows.append([f"`{recipe}`", ", ".join(f"{value:.2f} ({paper})" for value, paper in errors.items())])
    return markdown(["recipe", "test error"], rows) if rows else ""


def _errors(recipe: str) -> dict[float, str]:
    """Printed test errors with the papers that print them."""
    found: dict[float, list[str]] = {}
    for number in papers.numbers(recipe):
        if number["name"] == "test_error" and number["paper"] not in found.setdefault(number["value"], []):
            found[number["value"]].append(number["paper"])
    return {value: ", ".join(names) for value, names in found.items()}


def _without_empty(header: list[str], rows: list[list[str]]) -> str:
    """A table without the columns that no row fills."""
    kept = [index for index in range(len(header)) if index == 0 or any(row[index] for row in rows)]
    shown = [[row[index] for index in kept] for row in rows]
    return markdown([header[index] for index in kept], shown) if rows else ""
