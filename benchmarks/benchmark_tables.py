"""Tables of the benchmarks' own page."""

from __future__ import annotations

import statistics
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.result_files import NETWORKS, bench, measured, result, saved

from locallearn.benchmarking.table import MIB, markdown, table


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
                    saved(memory.get("bytes_saved_ratio")),
                    saved(memory.get("bytes_alive_ratio")),
                    saved(peak.get("cuda_peak_ratio")),
                    saving["source"],
                ]
            )
    header = ["network", "paper's method", "GB", "saved", "our row"]
    return markdown([*header, "bytes saved", "bytes alive", "CUDA peak", "source"], rows)


def _cuda(network: str) -> dict[tuple[str, str], dict[str, Any]]:
    if not measured(f"bench_{network}_cuda"):
        return {}
    return {(row["row"], row["precision"]): row for row in result(f"bench_{network}_cuda")["rows"]}


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


def memory_of_papers() -> str:
    """What papers print of memory beside planned bytes, at the published cuts and at those with the lowest peak.

    Returns:
        Markdown.
    """
    found = {row["name"]: row for name in measured("memory_of_papers*") for row in result(name)["rows"]}
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
        saved(after / before),
        f"{whole / 2**30:.2f}",
        (saved(cuts["bytes"] / whole) if cuts["bytes"] else "refused") if cuts else "none published",
        saved(lowest["plain"]["bytes"] / whole),
        saved(lowest["blocks recomputed"]["bytes"] / whole),
        saved(lowest["and step in backward"]["bytes"] / whole),
        ", ".join(map(str, units)) if len(units) < 9 else f"{len(units)} blocks",
        saved(row["checkpointing_bytes"] / whole),
        f"{check['planned'] / check['real']:.4f}",
    ]
