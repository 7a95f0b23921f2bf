"""Tables of README and benchmarks, generated from code and result files."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.environment import RESULTS

from locallearn.benchmarking.table import MIB, markdown, table

NETWORKS = ("resnet32", "resnet110")
ROOT = Path(__file__).parent.parent


def result(name: str) -> dict[str, Any]:
    """A result file.

    Args:
        name: Of the benchmark.

    Returns:
        Its contents.
    """
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def bench(network: str) -> dict[str, Any]:
    """The result of `locallearn bench` on a network, on a CPU.

    Args:
        network: Its name.

    Returns:
        The contents, with a dictionary of the rows under `by_key`, by name and precision.
    """
    found = result(f"bench_{network}_cpu")
    return found | {"by_key": {(row["row"], row["precision"]): row for row in found["rows"]}}


def memory_summary() -> str:
    """Peak memory of each method on both networks, and where it is measured the time.

    Returns:
        Markdown.
    """
    found = [bench(network) for network in NETWORKS]
    names = list(dict.fromkeys(row["row"] for each in found for row in each["rows"] if _is_main(row)))
    rows = [[name, *(_alive(each, name) for each in found), _time_ratio(found[0], name)] for name in names]
    kept = [row[: 4 if any(row[3] for row in rows) else 3] for row in rows if any(row[1:])]
    note = (
        "Bytes alive at the peak of a training step, batch 1024, 32x32 images, fp32; time of a step of ResNet-32 on a "
        "CPU over plain PyTorch's ([how](benchmarks/README.md))."
    )
    return markdown(["", "ResNet-32, K=16", "ResNet-110, K=55", "time"][: len(kept[0])], kept) + "\n\n" + note


def _is_main(row: dict[str, Any]) -> bool:
    """Whether a row is one of a method as it is, of checkpointing, or DGL's leanest."""
    asis = not row["execution"] and row["row"] != "backprop"
    return asis or row["row"] in ("backprop, checkpointing", "dgl, lean recompute", "dgl+man, blocks recomputed")


def _alive(found: dict[str, Any], name: str) -> str:
    memory = found["by_key"].get((name, "fp32"), {}).get("memory") or {}
    if memory.get("bytes_alive") is None:
        return ""
    return f"{memory['bytes_alive'] / MIB:,.0f} MiB ({memory['bytes_alive_ratio']:.0%})"


def _time_ratio(found: dict[str, Any], name: str) -> str:
    time = found["by_key"].get((name, "fp32"), {}).get("time") or {}
    return f"{time['time_ratio']:.2f}" if time else ""


def rows_of(network: str) -> str:
    """Every row of a network, with all meters.

    Args:
        network: Its name.

    Returns:
        Markdown.
    """
    found = result(f"bench_{network}_cpu")
    memory = found["memory"]
    lines = [f"Memory: batch {memory['batch_size']}, {_layout(memory)}, commit {memory['commit']}."]
    if found["time"] is not None:
        time, machine = found["time"], found["time"]["machine"]
        lines.append(
            f"Time: batch {time['batch_size']}, {_layout(time)}, {time['rounds']} rounds, {machine['processor']}, "
            f"{machine['threads']} threads, torch {time['versions']['torch']}, commit {time['commit']}."
        )
    return "\n".join(lines) + "\n\n" + table(found)


def _layout(section: dict[str, Any]) -> str:
    return "channels-last" if section["channels_last"] else "contiguous"


def official() -> str:
    """Bytes alive beside those of the authors' released codes.

    Returns:
        Markdown.
    """
    figures = published()["official"]
    rows = []
    for network in NETWORKS:
        ours = bench(network)["by_key"]
        for name, mib in figures[network].items():
            if (name, "fp32") not in ours:
                continue
            alive = ours[name, "fp32"]["memory"]["bytes_alive"] / MIB
            rows.append([network, name, f"{alive:.1f}", f"{mib:.1f}", f"{alive / mib:.2f}"])
    return markdown(["network", "row", "ours, MiB", "released code, MiB", "ours over theirs"], rows)


def savings() -> str:
    """What papers say is saved on CIFAR-10 beside what we save, by each meter there is.

    Returns:
        Markdown.
    """
    rows = []
    for saving in published()["saving"]:
        ours = bench(saving["network"])["by_key"]
        cuda = _cuda(saving["network"])
        for name in saving["rows"]:
            memory = ours.get((name, "fp32"), {}).get("memory") or {}
            peak = cuda.get((name, "fp32"), {}).get("memory") or {}
            rows.append(
                [
                    saving["network"],
                    saving["method"],
                    f"{saving['gigabytes']:.2f}",
                    f"{saving['percent']:.1f} %",
                    name,
                    _saved(memory.get("bytes_saved_ratio")),
                    _saved(memory.get("bytes_alive_ratio")),
                    _saved(peak.get("cuda_peak_ratio")),
                    saving["source"],
                ]
            )
    header = ["network", "paper's method", "GB", "saved", "our row"]
    return markdown([*header, "bytes saved", "bytes alive", "CUDA peak", "source"], rows)


def _cuda(network: str) -> dict[tuple[str, str], dict[str, Any]]:
    if not (RESULTS / f"bench_{network}_cuda.json").exists():
        return {}
    return {(row["row"], row["precision"]): row for row in result(f"bench_{network}_cuda")["rows"]}


def _saved(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{1 - ratio:.1%}".replace("%", " %")


def published() -> dict[str, Any]:
    """Figures of papers and of released code.

    Returns:
        The contents of `published.toml`.
    """
    return tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))


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


def windows() -> str:
    """All rows on overlapping windows.

    Returns:
        Markdown.
    """
    return markdown(
        [*TIMED, "operations over plain"],
        [[*_timed(row), f"{row['flops_ratio']:.3f}"] for row in result("windows_cpu")["rows"]],
    )


def precision() -> str:
    """Time of both layouts and precisions.

    Returns:
        Markdown.
    """
    return markdown(
        [*TIMED, "precision"], [[*_timed(row), row["precision"]] for row in result("precision_cpu")["rows"]]
    )


def learned(name: str) -> str:
    """Test accuracy of each kind of run over its seeds.

    Args:
        name: Of the result file.

    Returns:
        Markdown.
    """
    by_method: dict[str, list[float]] = {}
    for row in result(name)["rows"]:
        by_method.setdefault(row["name"].rpartition("-seed")[0], []).append(row["test_accuracy"])
    return markdown(
        ["run", "test accuracy, %", "deviation", "seeds"],
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


def networks() -> str:
    """Every network under every method.

    Returns:
        Markdown: blocks of each cell that trains, a number for each refusal, and what the numbers stand for.
    """
    if not (RESULTS / "networks.json").exists():
        return "Not measured yet."
    found = result("networks")["rows"]
    columns = list(dict.fromkeys(row["method"] for row in found))
    reasons: dict[str, str] = {}
    cells: dict[str, dict[str, str]] = {}
    for row in found:
        text = str(row["blocks"])
        if row["outcome"] != "trains":
            reason = _shortened(row["reason"])
            text = reasons.setdefault(reason, f"r{len(reasons) + 1}")
            text = f"fails ({text})" if row["outcome"] == "fails" else text
        cells.setdefault(row["network"], {})[row["method"]] = text
    table = markdown(["network", *columns], [[name, *map(of.__getitem__, columns)] for name, of in cells.items()])
    return "\n\n".join([table, *(f"{number}: {reason}" for reason, number in reasons.items())])


def memory_of_papers() -> str:
    """What papers print of memory beside planned bytes, at the published cuts and at those with the lowest peak.

    Returns:
        Markdown.
    """
    names = sorted(path.stem for path in RESULTS.glob("memory_of_papers*.json"))
    found = {row["name"]: row for name in names for row in result(name)["rows"]}
    if not found:
        return "Not measured yet."
    columns = [
        "recipe", "batch", "printed, GB", "printed saving", "plain PyTorch, GiB", "published cuts", "lowest peak",
        "blocks recomputed", "and step in backward", "units of each block", "checkpointing", "plan / real",
    ]  # fmt: skip
    return markdown(columns, [_planned(row) for row in found.values()])


def _planned(row: dict[str, Any]) -> list[str]:
    whole, cuts, lowest, check = (row[key] for key in ("backprop_bytes", "published_cuts", "lowest", "check"))
    units = lowest["blocks recomputed"]["units"]
    ((paper, (before, after)),) = row["printed_gb"].items()
    return [
        f"`{row['name']}`",
        str(row["batch_size"]),
        f"{before:.2f} to {after:.2f} ({paper})",
        _saved(after / before),
        f"{whole / 2**30:.2f}",
        (_saved(cuts["bytes"] / whole) if cuts["bytes"] else "refused") if cuts else "none published",
        _saved(lowest["plain"]["bytes"] / whole),
        _saved(lowest["blocks recomputed"]["bytes"] / whole),
        _saved(lowest["and step in backward"]["bytes"] / whole),
        ", ".join(map(str, units)) if len(units) < 9 else f"{len(units)} blocks",
        _saved(row["checkpointing_bytes"] / whole),
        f"{check['planned'] / check['real']:.4f}",
    ]


def tasks() -> str:
    """How well small runs of every task learn, in blocks and by back-propagation.

    Returns:
        Markdown.
    """
    rows: list[list[str]] = []
    for name, what, key in _TASKS:
        if (RESULTS / f"{name}.json").exists():
            found = result(name)["rows"]
            rows += [[what, each["name"], f"{_number(each, key):.1f} %", _peak(each)] for each in found]
    return markdown(["task", "run", "on held-out images", "peak of a step"], rows) if rows else "Not measured yet."


_TASKS = (
    ("camvid", "CamVid, DeepLabV3-ResNet-18 at 180x240, K=4: mean IoU", "test_mean_iou"),
    ("shapes", "generated shapes, Mask R-CNN with a small ResNet, K=4: box AP50", "test_box_ap50"),
    ("digits_vit", "digits, ViT-tiny, K=6: accuracy", "test_accuracy"),
)


def _number(row: dict[str, Any], key: str) -> float:
    return row.get("last", row)[key]


def _peak(row: dict[str, Any]) -> str:
    ours = row.get("peak_bytes")
    return f"{ours / MIB:,.0f} MiB ({ours / row['backprop_peak_bytes']:.0%})" if ours else ""


def _shortened(reason: str) -> str:
    """A refusal without its numbers, so that equal ones meet, 200 letters at most."""
    whole = re.sub(r"\(\d+(, \d+)*,?\)", "(...)", " ".join(reason.split()))
    return whole if len(whole) <= 200 else whole[:200].rpartition(" ")[0] + " ..."


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
    "README.md": {"memory": memory_summary, "tasks": tasks, "methods": methods},
    "docs/networks.md": {"networks": networks},
    "benchmarks/README.md": {
        "resnet32": partial(rows_of, "resnet32"),
        "resnet110": partial(rows_of, "resnet110"),
        "official": official,
        "savings": savings,
        "windows": windows,
        "networks": networks,
        "memory_of_papers": memory_of_papers,
        "training": training,
        "learning_check": partial(learned, "learning_check"),
        "precision": precision,
        "precision_runs": partial(learned, "precision_runs"),
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
