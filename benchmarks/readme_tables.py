"""Tables of the README: memory, how well tasks learn, the methods."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.result_files import NETWORKS, bench, measured, result

from locallearn.benchmarking.table import MIB, markdown


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


def tasks() -> str:
    """How well small runs of every task learn, in blocks and by back-propagation.

    Returns:
        Markdown.
    """
    rows: list[list[str]] = []
    for name, what, key in _TASKS:
        if measured(name):
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
        shown = f"[`{'+' if issubclass(method, Wrapper) else ''}{name}`](docs/methods/{name}.md)"
        rows.append([shown, (module.__doc__ or "").strip().splitlines()[0], f"[{path.rpartition('/')[2]}]({path})"])
    lines = ["| " + " | ".join(cells) + " |" for cells in [["name", "what", "file"], ["---"] * 3, *rows]]
    return "\n".join(lines)
