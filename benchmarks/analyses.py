"""What analyses found of finished runs, as a result file: `python -m benchmarks.analyses RUN [RUN ...]`.

Before: `locallearn probe RUNS`, `locallearn similarity REFERENCE RUN` for each run, `locallearn agreement RUNS` and
`locallearn exits RUNS`. The run called `backprop` is the reference.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.environment import write
from benchmarks.training import row

from locallearn.analysis import opened_all
from locallearn.analysis.stored import stored

REFERENCE = "backprop"
KEPT = {
    "probe": ("settings", "versions", "accuracy", "deviation"),
    "agreement": ("settings", "versions", "steps", "mean"),
    "exits": ("settings", "versions", "exits"),
    f"similarity-with-{REFERENCE}": ("settings", "versions", "curve", "mean"),
    "features": ("settings", "versions", "blocks"),
}
"""Which parts of an analysis are committed; whole matrices stay with the run."""


def row_of(path: Path) -> dict[str, Any]:
    """What is known of a run.

    Args:
        path: Its folder.

    Returns:
        Its summary, the method's options, what it was trained with, and a part of each analysis under the analysis'
        name; None if it was not made.
    """
    (run,) = opened_all([path])
    found = stored(run)
    parts = {
        name: {key: found[name][key] for key in keys if key in found[name]} if name in found else None
        for name, keys in KEPT.items()
    }
    # Rows of one method are told apart by all of its options.
    trained_with = (run.summary or {}).get("versions", {})
    return row(path) | {"method_options": run.recipe.method.model_dump(), "versions": trained_with} | parts


def main() -> None:
    """Write `results/NAME.json` from the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="analyses")
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    data = "CIFAR-10: a JPEG copy, 40,000 of the training images; agreement on these, all else on test images"
    print(write(options.name, [row_of(run) for run in options.runs], data=data))


if __name__ == "__main__":
    main()
