"""What analyses found, as files beside the runs they looked into."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
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
        name: The analysis; of a comparison with another run see `comparison`.
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


def comparison(kind: str, run: TrainedRun, reference: TrainedRun) -> tuple[str, str]:
    """How what was found beside another run is kept.

    Args:
        kind: The analysis.
        run: What was looked into.
        reference: The other run.

    Returns:
        The name for `store`, `KIND-with-FOLDER`, with a number behind if another reference of that name has taken it;
        and the reference's path from the run's folder, for `settings["reference"]`.
    """
    own = reference.path.resolve()
    path = os.path.relpath(own, run.path.resolve())
    plain = f"{kind}-with-{replace(reference, around=0).name.replace('/', '-')}"
    taken = stored(run)
    names = itertools.chain([plain], (f"{plain}-{number}" for number in itertools.count(2)))
    return next(n for n in names if n not in taken or reference_of(run, taken[n]) == own), path


def reference_of(run: TrainedRun, record: Mapping[str, Any]) -> Path | None:
    """Which run a comparison is with.

    Args:
        run: What was looked into.
        record: Of `stored`.

    Returns:
        The reference's resolved folder; None if the record does not say.
    """
    told = record.get("settings", {}).get("reference")
    return None if told is None else (run.path / told).resolve()


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
    if not isinstance(record, dict) or not isinstance(record.get("settings", {}), dict):
        raise InputError(f"{path} was not written by an analysis, or is damaged: delete it and look again.")
    return record
