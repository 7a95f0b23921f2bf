"""Result files as tables read them."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.environment import RESULTS

NETWORKS = ("resnet32", "resnet110")


def measured(pattern: str) -> list[str]:
    """Benchmarks that have results.

    Args:
        pattern: A name, in which `*` stands for any letters.

    Returns:
        Their names, sorted.
    """
    return sorted(path.stem for path in RESULTS.glob(f"{pattern}.json"))


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


def saved(ratio: float | None) -> str:
    """What a share leaves of the whole, in percent.

    Args:
        ratio: Ours over the whole; None if not measured.

    Returns:
        Such as `12.3 %`.
    """
    return "not measured" if ratio is None else f"{round(1 - ratio, 3) + 0.0:.1%}".replace("%", " %")
