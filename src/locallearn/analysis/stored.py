"""What analyses found, as files beside the runs they looked into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn import atomic_file
from locallearn.errors import InputError
from locallearn.training.summary import versions

if TYPE_CHECKING:
    from locallearn.analysis.trained_run import TrainedRun

FOLDER = "analysis"


def store(run: TrainedRun, name: str, found: Mapping[str, Any], *, settings: Mapping[str, Any]) -> Path:
    """Keep what an analysis found of a run; the same analysis' older file gives way.

    Args:
        run: What was looked into.
        name: The analysis; of a comparison with another run `NAME-with-RUN`.
        found: Plain data without NaN.
        settings: What was asked for, such as numbers of images and seeds.

    Returns:
        The file: `analysis/NAME.json` in the run's folder.
    """
    path = run.path / FOLDER / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    record = {"analysis": name, "run": run.name, "settings": dict(settings), "versions": versions(), **found}
    atomic_file.write(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    return path


def stored(run: TrainedRun) -> dict[str, dict[str, Any]]:
    """All that analyses found of a run.

    Args:
        run: What was looked into.

    Returns:
        Records of `store` by name; none if nothing was looked for.

    Raises:
        InputError: A file there is not one of these.
    """
    return {path.stem: _read(path) for path in sorted((run.path / FOLDER).glob("*.json"))}


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise InputError(f"{path} was not written by an analysis, or is damaged: delete it and look again.")
    return record
