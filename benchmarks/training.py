"""Summaries of finished runs as a result file: `python -m benchmarks.training [--name NAME] RUN [RUN ...]`."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

from benchmarks.environment import write

KEPT = (
    "seed", "epochs", "steps", "num_blocks", "parameters", "auxiliary_parameters", "test_accuracy", "test_error",
    "best_test_error", "best_test_epoch", "peak_bytes", "backprop_peak_bytes",
)  # fmt: skip


def row(run: Path) -> dict[str, object]:
    """What a run's folder says of it.

    Args:
        run: A finished run.

    Returns:
        Name, settings, results and the error of every epoch.
    """
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "name": f"{run.parent.name}-{run.name}" if run.name.startswith("seed") else run.name,
        "method": recipe["method"]["name"],
        "batch_size": recipe["training"]["batch_size"],
        "lr": recipe["training"]["lr"],
        "schedule": recipe["training"]["schedule"]["name"],
        "precision": recipe["precision"],
        **{key: summary[key] for key in KEPT},
        "test_accuracy_by_epoch": [line["test_accuracy"] for line in metrics],
    }


def main() -> None:
    """Write `results/NAME.json` from the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="training")
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    print(
        write(
            options.name,
            [row(run) for run in options.runs],
            data="CIFAR-10: a JPEG copy, training images less those held out; digits: 1,437 and 360 of scikit-learn",
        )
    )


if __name__ == "__main__":
    main()
