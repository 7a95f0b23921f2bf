"""What came of a sweep, as its folder says it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locallearn.errors import InputError

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
    rows = tuple(row | {"run": path / row["run"]} for row in stored["rows"])
    kept = {key: stored[key] for key in ("title", "source", "kind", "axis", "score", "trials", "best")}
    return SweepTable(path=path, fields=tuple(stored["fields"]), rows=rows, **kept)
