"""What came of a sweep, as its folder says it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locallearn.errors import InputError, command

TABLE = "sweep.json"


@dataclass(frozen=True)
class SweepTable:
    """A sweep's trials so far.

    Args:
        path: Folder of the sweep.
        title: What is swept.
        source: Which published table it repeats, if any.
        kind: `grid`, `search` or `case`.
        axis: The field whose values are numbers along which the trials lie; None if there is no single one.
        fields: The swept fields, by path; `case` for the names of cases.
        score: What trials are compared by, such as `validation_accuracy`; higher is better.
        seeds: Runs of each trial.
        set: Changes of the recipe that all trials share.
        trials: How many there will be.
        rows: For each trial that has ended `trial`, `name`, `state` (`finished` or `failed`), `reason` it failed for,
            `values` by field, `seeds`, `run` (its folder), and if it finished `score`, the means over seeds of what was
            measured by name, with `deviations` of them, `peak_bytes`, and the numbers `published` for the same run.
        best: Number of the trial with the highest score; None if none has finished.
    """

    path: Path
    title: str
    source: str
    kind: str
    axis: str | None
    fields: tuple[str, ...]
    score: str
    seeds: int
    set: Mapping[str, Any]
    trials: int
    rows: tuple[dict[str, Any], ...]
    best: int | None

    @property
    def is_finished(self) -> bool:
        """Whether all trials have ended."""
        return len(self.rows) >= self.trials


def sweep_table(path: Path) -> SweepTable:
    """The table of a sweep, finished or under way.

    Args:
        path: Its folder.

    Returns:
        The table; `run` of every row is a path that can be opened from here.

    Raises:
        InputError: The folder holds no sweep.
    """
    try:
        stored = json.loads((path / TABLE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{str(path)!r} holds no sweep ({TABLE} is missing): give the folder that `locallearn sweep` wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path / TABLE} cannot be read ({error}).") from error
    try:
        rows = tuple(row | {"run": path / row["run"]} for row in stored["rows"])
        for row, key in itertools.product(rows, ("trial", "name", "state", "values", "published")):
            row[key]
        kept = {
            key: stored[key] for key in ("title", "source", "kind", "axis", "score", "seeds", "set", "trials", "best")
        }
        return SweepTable(path=path, fields=tuple(stored["fields"]), rows=rows, **kept)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path / TABLE} was not written by `locallearn sweep`, or by another version ({error} is missing or "
            f"wrong): write it again by {command('sweep', '--resume', path)}."
        ) from error


def readable_rows(table: SweepTable) -> list[dict[str, Any]]:
    """A sweep's trials as rows to read.

    Args:
        table: The sweep's.

    Returns:
        For each trial the values of the swept fields, its scores, what is published for it, and its folder.
    """
    along = [table.axis] if table.axis is not None else []
    fields = list(dict.fromkeys([*table.fields, *along]))
    measured = [
        name
        for name in dict.fromkeys(name for row in table.rows for name in row)
        if name.startswith(("validation_", "test_")) and not name.endswith("_loss")
    ]
    printed = dict.fromkeys(name for row in table.rows for name in row["published"] if name in measured)
    deviating = any(row.get("deviations") for row in table.rows)
    return [
        {
            **{field: row["values"].get(field) for field in fields},
            **{name.replace("_", " "): row.get(name) for name in measured},
            **({"+-": row.get("deviations", {}).get(table.score)} if deviating else {}),
            **{f"published {name.replace('_', ' ')}": row["published"].get(name) for name in printed},
            "run": str(row["run"]) if row["state"] == "finished" else f"failed: {row['run']}",
        }
        for row in table.rows
    ]
