"""Mask R-CNN on generated shapes, by several ways of training: `python -m benchmarks.shapes --out FOLDER [ROW ...]`.

Rows are runs of the recipe `shapes_mask_rcnn` with changes; finished ones are not trained again. With `--steps 30` one
takes a minute or two and shows that losses fall; whole runs end up in `results/shapes.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.environment import write

from locallearn.recipes import checked, load
from locallearn.recipes.recipe import Recipe
from locallearn.training.train import train

RECIPE = "shapes_mask_rcnn"
INFOPRO = {"task_loss": "cross_entropy"}
ROWS: dict[str, dict[str, Any]] = {
    "dgl": {},
    "dgl+man": {"method": {"name": "dgl+man"}},
    "infopro+man": {"method": {"name": "infopro+man", "base": INFOPRO}},
    "backprop": {"method": {"name": "backprop"}},
    "random body, weights frozen": {"method": {"name": "backprop"}, "options": {"trainable_layers": 0}},
}
"""What each row changes of the recipe: the method, and the network's options.

In the last row the body's BatchNorms still normalise by each batch, and their running statistics move."""


def recipe_of(row: str, steps: int | None) -> Recipe:
    """The recipe of a row.

    Args:
        row: A key of `ROWS`.
        steps: Optimizer steps, if not all.

    Returns:
        A complete run.
    """
    tables = load(RECIPE).model_dump(exclude_none=True)
    changes = ROWS[row]
    tables |= {"method": changes["method"]} if "method" in changes else {}
    tables["network"]["options"] |= changes.get("options", {})
    tables["training"] |= {} if steps is None else {"max_steps": steps}
    return checked(tables, where=row)


def trained(row: str, out: Path, steps: int | None) -> dict[str, Any]:
    """Train a row unless its run is finished, and say how it went.

    Args:
        row: A key of `ROWS`.
        out: Where the run's folder goes.
        steps: Optimizer steps, if not all.

    Returns:
        Its name, steps and parameters, and what the log says of its last epoch.
    """
    folder = out / row.replace(",", "").replace(" ", "-")
    if not (folder / "summary.json").exists():
        train(recipe_of(row, steps), folder, resume=folder.exists())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    kept = {key: summary[key] for key in ("epochs", "steps", "num_blocks", "parameters", "auxiliary_parameters")}
    return {"name": row} | kept | {"last": lines[-1]}


def main() -> None:
    """Train the rows named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("rows", nargs="*", default=list(ROWS))
    options = parser.parse_args()
    if strangers := set(options.rows) - set(ROWS):
        parser.error(f"there are no rows {', '.join(sorted(strangers))}; the rows are {', '.join(ROWS)}")
    rows = []
    for row in options.rows:
        rows.append(trained(row, options.out, options.steps))
        print(json.dumps(rows[-1]), flush=True)
    if options.steps is None:
        write("shapes", rows, data="generated shapes: 2,000 images to train, 300 to test")


if __name__ == "__main__":
    main()
