"""Fill a result row by row: memory counted for each by itself, time with all rows taking turns."""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from locallearn.benchmarking.memory import StepMemory, step_memory
from locallearn.benchmarking.results import Content, Key, memory_cells, time_cells
from locallearn.benchmarking.rows import PLAIN_NAME, Row
from locallearn.benchmarking.sides import BatchForm, Setting, build
from locallearn.benchmarking.turns import in_turns
from locallearn.errors import InputError

Save = Callable[[Content], None]
REFUSALS = (InputError, torch.OutOfMemoryError)
"""What a row may meet without ending the run: a method that does not suit the network, a device too small."""


def count_memory(
    content: Content,
    rows: Sequence[Row],
    setting: Setting,
    form: BatchForm,
    head: dict[str, Any],
    save: Save,
    *,
    workers: int = 1,
) -> None:
    """Count what is not counted yet, and save after every row.

    Args:
        content: The result; is filled.
        rows: Its rows, in its order, plain PyTorch first in each precision.
        setting: What they have in common.
        form: The batch.
        head: Of the measurement: machine, versions, commit.
        save: Writes the result.
        workers: Processes that count rows side by side; on a CUDA device always this one alone.

    Raises:
        InputError: Plain PyTorch itself cannot be measured, or earlier rows were counted by other code or elsewhere.
    """
    head = head | {"batch_size": form.size, "channels_last": form.channels_last}
    if content["memory"] is not None and not _repeats(content["memory"], head):
        raise InputError("The rows counted before had another commit, torch or batch: --overwrite begins again.")
    content["memory"] = content["memory"] or head
    pairs = list(zip(rows, content["rows"], strict=True))
    todo = [(row, record) for row, record in pairs if record["memory"] is None and record["refused"] is None]
    plain = {row.precision: record for row, record in pairs if row.name == PLAIN_NAME}
    found = _all_counted([row for row, _ in todo], setting, form, workers)
    for place, ((row, record), counted) in enumerate(zip(todo, found, strict=True), start=1):
        if isinstance(counted, str):
            record["refused"] = counted
        else:
            base = counted if row.name == PLAIN_NAME else _figures(plain[row.precision]["memory"])
            record["memory"] = memory_cells(counted, base)
        if plain[row.precision]["memory"] is None:
            raise InputError(f"Plain PyTorch cannot be measured: {plain[row.precision]['refused']}")
        save(content)
        _say(f"memory {place}/{len(todo)} {setting.network}: {row.name}, {row.precision}")


def _all_counted(rows: Sequence[Row], setting: Setting, form: BatchForm, workers: int) -> Iterator[StepMemory | str]:
    count = partial(_counted, setting, form)
    if workers == 1 or torch.device(setting.device).type != "cpu" or len(rows) < 2:
        yield from map(count, rows)
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(rows))) as pool:
        yield from pool.imap(count, rows)


def _counted(setting: Setting, form: BatchForm, row: Row) -> StepMemory | str:
    """A row's figures, or why there are none."""
    try:
        return step_memory(row, setting, form)
    except REFUSALS as refusal:
        return str(refusal)


def _figures(cells: dict[str, Any]) -> StepMemory:
    return StepMemory(**{field.name: cells[field.name] for field in dataclasses.fields(StepMemory)})


def _repeats(earlier: dict[str, Any], head: dict[str, Any]) -> bool:
    return all(earlier[key] == head[key] for key in ("commit", "versions", "batch_size", "channels_last"))


def measure_time(
    content: Content,
    rows: Sequence[Row],
    setting: Setting,
    form: BatchForm,
    head: dict[str, Any],
    save: Save,
    *,
    rounds: int,
    warm_up: int = 2,
) -> None:
    """Time all rows, which take turns, and save once all are done.

    Args:
        content: The result; is filled.
        rows: Its rows, in its order.
        setting: What they have in common.
        form: The batch.
        head: Of the measurement: machine, versions, commit.
        save: Writes the result.
        rounds: Turns for each row that count.
        warm_up: Turns for each before those.
    """
    device = torch.device(setting.device)
    batch = form.batch(setting)
    sides: dict[Key, Callable[[], object]] = {}
    for row, record in zip(rows, content["rows"], strict=True):
        if record["refused"] is None:
            _say(f"time {setting.network}: making {row.name}, {row.precision}")
            try:
                step = partial(build(row, setting, form), *batch)
                step()
            except REFUSALS as refusal:
                record["refused"] = str(refusal)
                continue
            sides[row.name, row.precision] = step
    start = time.perf_counter()

    def told(turn: int) -> None:
        left = (time.perf_counter() - start) / turn * (warm_up + rounds - turn)
        _say(f"time {setting.network}: round {turn}/{warm_up + rounds}, {left:.0f} s left")

    found = in_turns(list(sides.values()), device, rounds=rounds, warm_up=warm_up, after_round=told)
    seconds = dict(zip(sides, found, strict=True))
    precisions = list(dict.fromkeys(precision for _, precision in sides))
    for record in content["rows"]:
        key = record["row"], record["precision"]
        record["time"] = time_cells(seconds, key, precisions, form.size) if key in seconds else None
    content["time"] = head | {
        "batch_size": form.size,
        "channels_last": form.channels_last,
        "rounds": rounds,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    save(content)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
