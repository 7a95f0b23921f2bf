"""Result files: one for each network and kind of device, written whole after every row."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from locallearn import atomic_file
from locallearn.benchmarking.memory import StepMemory
from locallearn.benchmarking.rows import PLAIN_NAME, Row
from locallearn.benchmarking.sides import Setting
from locallearn.benchmarking.turns import ratios
from locallearn.errors import InputError
from locallearn.execution import PLAIN

Content = dict[str, Any]
MEASURED = ("memory", "time", "rows")
Key = tuple[str, str]


def file_name(setting: Setting) -> str:
    """What a setting's result file is called.

    Args:
        setting: Network and device.

    Returns:
        A name without folder.
    """
    network = setting.network.replace(":", "-").replace("/", "-")
    return f"bench_{network}_{torch.device(setting.device).type}.json"


def fresh(setting: Setting, rows: Sequence[Row]) -> Content:
    """A result in which nothing is measured yet.

    Args:
        setting: What all rows have in common.
        rows: The table's rows.

    Returns:
        The content of a result file.
    """
    shared = dataclasses.asdict(setting) | {"input_shape": list(setting.input_shape)}
    if setting.split_points is not None:
        shared["split_points"] = list(setting.split_points)
    return {
        "benchmark": file_name(setting).removesuffix(".json"),
        **shared,
        "memory": None,
        "time": None,
        "rows": [_described(row, setting) for row in rows],
    }


def _described(row: Row, setting: Setting) -> dict[str, Any]:
    own_cut = setting.preset_of(row) or ("memory" if row.segments else setting.balance)
    return {
        "row": row.name,
        "precision": row.precision,
        "method": None if row.method is None else repr(row.method),
        "execution": {
            field.name: getattr(row.execution, field.name)
            for field in dataclasses.fields(row.execution)
            if getattr(row.execution, field.name) != getattr(PLAIN, field.name)
        }
        | ({"step_in_backward": True} if row.step_in_backward else {}),
        "cut": None if row.method is None else own_cut,
        "memory": None,
        "time": None,
        "refused": None,
    }


def opened(path: Path, content: Content, *, resume: bool, overwrite: bool, measured: Sequence[str]) -> Content:
    """What to go on with: a fresh result, or an earlier one of the same setting and rows.

    Args:
        path: The result file.
        content: A fresh result.
        resume: Whether to go on with what the file has.
        overwrite: Whether to measure again what is asked for; the rest stays.
        measured: What is asked for: `"memory"`, `"time"`.

    Returns:
        The content to add to.

    Raises:
        InputError: The file exists and neither was asked for, or it is of another setting, or cannot be read.
    """
    if not path.exists():
        return content
    if not resume and not overwrite:
        raise InputError(f"{path} exists: --resume adds what is missing, --overwrite measures again.")
    merged = _merged(path, content)
    for name in measured if overwrite else ():
        merged[name] = None
        merged["rows"] = [row | {name: None, "refused": None} for row in merged["rows"]]
    return merged


def _merged(path: Path, content: Content) -> Content:
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differ = [key for key in content if key not in MEASURED and earlier.get(key) != content[key]]
        before = {(row["row"], row["precision"]): row for row in earlier["rows"]}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} is no result of this benchmark ({error}): move it, or choose another --out."
        ) from error
    missing = before.keys() - {(row["row"], row["precision"]) for row in content["rows"]}
    if differ or missing:
        what = ", ".join([*differ, *sorted(f"{name} in {precision}" for name, precision in missing)])
        raise InputError(f"{path} has another {what}: give the same flags, move it, or choose another --out.")
    filled = [_filled(row, before.get((row["row"], row["precision"]))) for row in content["rows"]]
    return content | {"memory": earlier["memory"], "time": earlier["time"], "rows": filled}


def _filled(row: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    same = earlier is not None and all(earlier[key] == row[key] for key in ("method", "execution", "cut"))
    return row | earlier if same and earlier is not None else row


def save(path: Path, content: Content) -> None:
    """Write a result whole or not at all.

    Args:
        path: The result file.
        content: What it holds.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.write(path, (json.dumps(content, indent=1) + "\n").encode())


def memory_cells(counted: StepMemory, plain: StepMemory) -> dict[str, Any]:
    """What a row's result says of memory and arithmetic.

    Args:
        counted: The row's.
        plain: That of plain PyTorch in the same precision.

    Returns:
        Figures, and their ratios to plain PyTorch's; None where a meter sees nothing.
    """
    figures = dataclasses.asdict(counted)
    base = dataclasses.asdict(plain)
    return figures | {
        f"{name}_ratio": None if value is None or not base[name] else round(value / base[name], 5)
        for name, value in figures.items()
    }


def time_cells(seconds: dict[Key, list[float]], key: Key, precisions: Sequence[str], batch_size: int) -> dict[str, Any]:
    """What a row's result says of time.

    Args:
        seconds: Of all rows, round by round, by name and precision.
        key: The row.
        precisions: Those of the run, the first of which is the plainest.
        batch_size: Images in a step.

    Returns:
        Medians over the rounds; `time_ratio` is the median of the ratios to plain PyTorch in the same precision.
    """
    record = seconds[key]
    lower, middle, upper = ratios(record, seconds[PLAIN_NAME, key[1]])
    median = statistics.median(record)
    over_first = ratios(record, seconds[PLAIN_NAME, precisions[0]])[1]
    return {
        "seconds": round(median, 5),
        "images_per_second": round(batch_size / median, 1),
        "time_ratio": round(middle, 4),
        "quartiles": [round(lower, 4), round(upper, 4)],
        f"over_{precisions[0]}": round(over_first, 4),
    }
