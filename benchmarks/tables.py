"""Tables of README and benchmarks, generated from code and result files."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.environment import RESULTS

ROOT = Path(__file__).parent.parent


def result(name: str) -> dict[str, Any]:
    """A result file.

    Args:
        name: Of the benchmark.

    Returns:
        Its contents.
    """
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers.

    Args:
        header: Titles.
        rows: Cells.

    Returns:
        Markdown.
    """
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def memory_summary() -> str:
    """Peak memory of each method on both networks.

    Returns:
        Markdown.
    """
    rows = result("memory")["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] != "backprop"))
    by_key = {(row["network"], row["method"]): row for row in rows}

    def cell(network: str, method: str) -> str:
        row = by_key[network, method]
        return f"{row['peak_mib']:,.0f} MiB ({row['bytes_ratio']:.0%})"

    table = [[method, cell("resnet32", method), cell("resnet110", method)] for method in methods]
    note = "Bytes alive at the peak of a training step, batch 1024, 32x32 images, fp32 ([how](benchmarks/README.md))."
    return markdown(["", "ResNet-32, K=16", "ResNet-110, K=55"], table) + "\n\n" + note


def memory() -> str:
    """All memory rows, with the official code's.

    Returns:
        Markdown.
    """
    return markdown(
        ["network", "K", "method", "cut of", "MiB", "of plain", "operations of plain", "official code, MiB"],
        [
            [
                row["network"],
                str(row["num_blocks"]),
                row["method"],
                row["cut"],
                f"{row['peak_mib']:.1f}",
                f"{row['bytes_ratio']:.3f}",
                f"{row['flops_ratio']:.2f}",
                "" if row["official_mib"] is None else f"{row['official_mib']:.1f}",
            ]
            for row in result("memory")["rows"]
        ],
    )


TIMED = ("network", "K", "batch", "layout", "method", "seconds", "over plain", "quartiles")


def _timed(row: dict[str, Any]) -> list[str]:
    """The cells under `TIMED`."""
    return [
        row["network"],
        str(row["num_blocks"]),
        str(row["batch_size"]),
        row["layout"],
        row["method"],
        f"{row['seconds']:.3f}",
        f"{row['time_ratio']:.2f}",
        " - ".join(f"{value:.2f}" for value in row["quartiles"]),
    ]


def time() -> str:
    """All time rows.

    Returns:
        Markdown.
    """
    found = result("time_cpu")
    table = markdown(
        list(TIMED),
        [_timed(row) for row in found["rows"]],
    )
    machine = found["machine"]
    return f"{machine['processor']}, {machine['threads']} threads, torch {found['versions']['torch']}.\n\n{table}"


def windows() -> str:
    """All rows on overlapping windows.

    Returns:
        Markdown.
    """
    return markdown(
        [*TIMED, "operations over plain"],
        [[*_timed(row), f"{row['flops_ratio']:.3f}"] for row in result("windows_cpu")["rows"]],
    )


def learning_check() -> str:
    """Test accuracy of each method over its seeds.

    Returns:
        Markdown.
    """
    by_method: dict[str, list[float]] = {}
    for row in result("learning_check")["rows"]:
        by_method.setdefault(row["name"].rpartition("-seed")[0], []).append(row["test_accuracy"])
    return markdown(
        ["method", "test accuracy, %", "deviation", "seeds"],
        [
            [
                method,
                f"{statistics.fmean(values):.2f}",
                f"{statistics.stdev(values):.2f}" if len(values) > 1 else "one seed",
                ", ".join(f"{value:.2f}" for value in values),
            ]
            for method, values in sorted(by_method.items(), key=lambda item: -statistics.fmean(item[1]))
        ],
    )


def training() -> str:
    """All training runs.

    Returns:
        Markdown.
    """
    return markdown(
        ["run", "method", "epochs", "batch", "test accuracy, last epoch", "best epoch (picked on the test set)"],
        [
            [
                row["name"],
                row["method"],
                str(row["epochs"]),
                str(row["batch_size"]),
                f"{row['test_accuracy']:.2f} %",
                f"{100 - row['best_test_error']:.2f} %",
            ]
            for row in result("training")["rows"]
        ],
    )


def methods() -> str:
    """The methods with their first sentences and files.

    Returns:
        Markdown.
    """
    from locallearn.abstract_method import Wrapper
    from locallearn.methods import METHODS

    rows = []
    for name, method in METHODS.items():
        module = sys.modules[method.__module__]
        path = f"src/{method.__module__.replace('.', '/')}.py"
        shown = f"`+{name}`" if issubclass(method, Wrapper) else f"`{name}`"
        rows.append([shown, (module.__doc__ or "").strip().splitlines()[0], f"[{path.rpartition('/')[2]}]({path})"])
    lines = ["| " + " | ".join(cells) + " |" for cells in [["name", "what", "file"], ["---"] * 3, *rows]]
    return "\n".join(lines)


SECTIONS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"memory": memory_summary, "methods": methods},
    "benchmarks/README.md": {
        "memory": memory,
        "time": time,
        "windows": windows,
        "training": training,
        "learning_check": learning_check,
    },
}


def rendered(path: str) -> str:
    """A document with its generated sections written anew.

    Args:
        path: Of the document within the repository.

    Returns:
        The whole text.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, render in SECTIONS[path].items():
        pattern = rf"(<!-- {name}:[^>]*-->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda match, render=render: f"{match[1]}{render()}\n{match[2]}", text, flags=re.DOTALL)
    return text


def main() -> int:
    """Rewrite the documents, or with `--check` only say which are stale.

    Returns:
        1 if a document is stale.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is stale")
    check = parser.parse_args().check
    stale = [path for path in SECTIONS if rendered(path) != (ROOT / path).read_text(encoding="utf-8")]
    for path in stale:
        if check:
            print(f"{path} is stale: run make tables")
        else:
            (ROOT / path).write_text(rendered(path), encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
