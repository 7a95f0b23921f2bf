"""The table of two processes at work together."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.result_files import measured, result

from locallearn.benchmarking.table import markdown

COLUMNS = ("", "link", "images/s", "over one process", "MiB alive per process", "predicted, images/s")


def parallel() -> str:
    """Blocks in parallel beside two trainings apart and 1F1B.

    Returns:
        Markdown: the setting and a table.
    """
    if not measured("parallel"):
        return "Not measured yet."
    found = result("parallel")
    setting, rows = found["setting"], found["rows"]
    one = rows[0]["images_per_second"]
    head = (
        f"{setting['network']}, batch {setting['batch']}, one thread per process on {found['machine']['processor']}, "
        f"torch {found['versions']['torch']}, commit {found['commit']}."
    )
    return f"{head}\n\n{markdown(list(COLUMNS), [_cells(row, one) for row in rows])}{_checked()}"


def _checked() -> str:
    if not measured("simulation_check"):
        return ""
    rows = result("simulation_check")["rows"]
    found, told = ([row[key] for row in rows] for key in ("images_per_second", "predicted_images_per_second"))
    off = [100 * (prediction / rate - 1) for prediction, rate in zip(told, found, strict=True)]
    middle = statistics.median(told) / statistics.median(found) - 1
    return (
        f"\n\nBy costs measured while both processes work (`python -m benchmarks.simulation_check`, batch "
        f"{result('simulation_check')['setting']['batch']}, {len(rows)} turns) the simulation is off by "
        f"{', '.join(f'{each:+.0f}' for each in off)} %, medians by {100 * middle:+.0f} %: predicted "
        f"{statistics.median(told):.1f}, measured {statistics.median(found):.1f} images/s. Costs of one process alone "
        "leave out that two share the machine's caches and memory."
    )


def _cells(row: dict[str, Any], one: float) -> list[str]:
    name = row["name"] + (f", {row['micro_batches']} micro-batches" if row["micro_batches"] else "")
    asleep = "sleeping" in name
    counted = [each for each in row["bytes_per_rank"] if each is not None]
    told = row["predicted_images_per_second"]
    return [
        name,
        row["link"],
        f"{row['images_per_second']:.1f}",
        "" if asleep else f"{row['images_per_second'] / one:.2f}",
        ", ".join(f"{each / 2**20:.0f}" for each in counted),
        "" if told is None else f"{told:.1f} ({100 * (told / row['images_per_second'] - 1):+.0f} %)",
    ]
