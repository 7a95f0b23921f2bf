"""What came of a sweep's trials, as rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locallearn import atomic_file
from locallearn.recipes import Recipe
from locallearn.recipes.stored import METRICS, SUMMARY, flat
from locallearn.sweeping.points import Point, told, varied_number
from locallearn.sweeping.sweep_file import Sweep
from locallearn.sweeping.table import TABLE
from locallearn.tasks.named import task_of
from locallearn.training.assembly import recipe_spec
from locallearn.training.metrics_log import JsonLines
from locallearn.training.summary import versions


def write_table(path: Path, sweep: Sweep, points: Sequence[Point], rows: Sequence[dict[str, Any]], trials: int) -> None:
    """Write `sweep.json`, whole or not at all.

    Args:
        path: Folder of the sweep.
        sweep: What is swept.
        points: See `points.points`.
        rows: See `row`; in the order of the trials.
        trials: How many there will be.

    Raises:
        OSError: It cannot be written.
    """
    finished = [row for row in rows if row["state"] == "finished"]
    table = {
        "title": sweep.title,
        "source": sweep.source,
        "recipe": sweep.recipe,
        "kind": sweep.kind,
        "axis": axis(sweep, points),
        "fields": sweep.fields,
        "score": score_name(sweep, points[0].recipe),
        "seeds": sweep.seeds,
        "set": sweep.set,
        "trials": trials,
        "best": max(finished, key=lambda row: row["score"])["trial"] if finished else None,
        "rows": list(rows),
        "versions": versions(),
    }
    atomic_file.write(path / TABLE, (json.dumps(table, indent=1, allow_nan=False) + "\n").encode())


def axis(sweep: Sweep, points: Sequence[Point]) -> str | None:
    """The field along which trials lie.

    Args:
        sweep: The sweep.
        points: See `points.points`.

    Returns:
        The only swept field if its values are numbers, or the only setting in which cases differ; else None.
    """
    if sweep.kind == "case" or len(sweep.fields) == 1:
        return varied_number(point.recipe for point in points)
    return None


def score_name(sweep: Sweep, recipe: Recipe) -> str:
    """What trials are compared by.

    Args:
        sweep: The sweep.
        recipe: One of its trials'.

    Returns:
        A name such as `validation_accuracy`.
    """
    return f"{sweep.score}_{task_of(recipe_spec(recipe)).metric().name}"


def row(number: int, point: Point, sweep: Sweep, axis: str | None, *, run: str, reason: str | None) -> dict[str, Any]:
    """A trial that has ended, without what it measured.

    Args:
        number: Its number, from 0.
        point: What was trained.
        sweep: The sweep.
        axis: See `axis`.
        run: Name of its folder.
        reason: Why it failed; None if it did not.

    Returns:
        Plain data.
    """
    along = {} if axis is None else {axis: flat(point.recipe.model_dump())[axis]}
    return {
        "trial": number,
        "name": told(point.values),
        "state": "finished" if reason is None else "failed",
        "reason": reason,
        "values": {**point.values, **along},
        "seeds": sweep.seeds,
        "run": run,
        "published": {
            each.name: each.value for each in reversed(point.recipe.published) if not each.name.startswith("backprop_")
        },
    }


def measured(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """What a finished trial's files say.

    Args:
        folder: Its folder.
        recipe: Its recipe.

    Returns:
        Means over its seeds of all results on validation and test images after the last epoch, their deviations if
        there are several, and the bytes alive at the peak of a step.
    """
    runs = run_folders(folder, recipe)
    summaries = [json.loads((run / SUMMARY).read_text(encoding="utf-8")) for run in runs]
    each = [_last(run, summary) for run, summary in zip(runs, summaries, strict=True)]
    means = {name: statistics.fmean(one[name] for one in each) for name in each[0]}
    deviations = {name: statistics.stdev(one[name] for one in each) for name in each[0]} if len(each) > 1 else {}
    return {**means, "deviations": deviations, "peak_bytes": summaries[0]["peak_bytes"]}


def run_folders(folder: Path, recipe: Recipe) -> list[Path]:
    """Where a trial's runs are.

    Args:
        folder: The trial's folder.
        recipe: Its recipe.

    Returns:
        The folder itself, or one in it for each seed.
    """
    if recipe.seeds == 1:
        return [folder]
    return [folder / f"seed{seed}" for seed in range(recipe.seed, recipe.seed + recipe.seeds)]


def all_ended(folder: Path, recipe: Recipe) -> bool:
    """Whether all runs of a trial have ended.

    Args:
        folder: The trial's folder.
        recipe: Its recipe.

    Returns:
        True if every one has its summary.
    """
    return all((run / SUMMARY).is_file() for run in run_folders(folder, recipe))


def _last(run: Path, summary: dict[str, Any]) -> dict[str, float]:
    # The last epoch's, which is what the saved network reaches; the best epoch's would be chosen.
    record = JsonLines(run / METRICS).records()[-1]
    names = [name for name in record if name.startswith(("validation_", "test_")) and record[name] is not None]
    found = {name: record[name] for name in names}
    return found | ({"test_error": summary["test_error"]} if "test_error" in summary else {})
