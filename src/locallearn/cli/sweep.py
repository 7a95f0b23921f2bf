"""Train a recipe with different values of its fields, and tell which did best; goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from locallearn.cli import runs
from locallearn.cli.flags import Format, Json, parsed, with_resumed_folder
from locallearn.cli.pictures import Overwrite, check_picture
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError, TrainingStopped, listed
from locallearn.extras import require
from locallearn.sweeping import load, names
from locallearn.sweeping.sweep_file import checked

if TYPE_CHECKING:
    from locallearn.sweeping import Sweep, SweepTable

CHANGING = ("set", "data", "device", "seeds")
"""Flags that would make another sweep of one that was begun."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Make a sweep's trials, each an ordinary run in OUT/trial-NNNN; OUT/sweep.json is the table.

    Args:
        sweep: Sweep by name (`locallearn ls sweeps`), or the path of a TOML file.
        out: Folder of the sweep; none makes runs/SWEEP.
        resume: Folder of a sweep to go on with; without a value the folder given by --out.
        trials: How many trials a search makes; of a grid or of cases only the first ones.
        seeds: Runs of each trial.
        set: Changes that all trials share, such as training.epochs=20 training.lr=0.1.
        data: Where the images are.
        device: Where to train: auto, cpu, cuda, cuda:1, mps.
        plot: A file for a chart, such as sweep.svg; none makes OUT/sweep.svg.
    """

    sweep: tyro.conf.Positional[str | None] = None
    out: Path | None = None
    resume: Path | None = None
    trials: int | None = None
    seeds: int | None = None
    set: tuple[str, ...] = ()
    data: Path | None = None
    device: str | None = None
    plot: Path | None = None
    overwrite: Overwrite = False
    format: Format = "table"
    json: Json = False


def resolve(argv: Sequence[str]) -> tuple[SweepOptions, Sweep]:
    """What a command line asks to sweep.

    Args:
        argv: Words after `sweep`.

    Returns:
        The verb's options, and the sweep with the flags laid over it.

    Raises:
        InputError: The sweep or a flag is refused.
    """
    options = parsed(SweepOptions, with_resumed_folder(argv, verb="sweep"), verb="sweep")
    check_picture("--plot", options.plot, overwrite=options.overwrite)
    require("optuna", "A sweep", extra="sweep")
    from locallearn.sweeping.run_sweep import stored

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("A sweep is one process: start it without torchrun.")
    if options.resume is None:
        if options.sweep is None:
            raise InputError(f"Name a sweep, or give the path of a TOML file: {', '.join(names())}.")
        return options, _with_flags(load(options.sweep), options)
    given = [f"--{name}" for name in CHANGING if getattr(options, name)]
    if options.sweep is not None or given:
        what = " and ".join([*([options.sweep] if options.sweep else []), *given])
        raise InputError(f"--resume goes on with the sweep in {str(options.resume)!r} as it is: leave {what} out.")
    if options.out is not None and options.out.resolve() != options.resume.resolve():
        raise InputError(f"--resume {options.resume} goes on in that folder: leave --out {options.out} out.")
    return options, _with_flags(stored(options.resume), options)


def run(argv: Sequence[str]) -> int:
    """Make the trials, and print what came of them.

    Args:
        argv: Words after `sweep`.

    Returns:
        The exit code; 1 if no trial finished.
    """
    options, sweep = resolve(argv)
    from locallearn.sweeping.run_sweep import DESCRIPTION, run_sweep
    from locallearn.sweeping.table import readable_rows
    from locallearn.training import for_stream

    name = Path(options.sweep or "sweep").name.removesuffix(".toml")
    out = options.resume or options.out or runs.first_free(Path("runs") / name)
    with runs.stoppable("sweep", out, DESCRIPTION, also=(TrainingStopped,)):
        table = run_sweep(sweep, out, resume=options.resume is not None, progress=for_stream, note=_told)
    rows = readable_rows(table)
    if rows:
        print_rows(rows, form=options.format)
    finished = [row for row in table.rows if row["state"] == "finished"]
    if finished:
        _tell_best(table)
        _draw(table, options.plot or out / "sweep.svg")
    if options.json:
        print(json.dumps(_as_json(table)))
    return 0 if finished else 1


def _with_flags(sweep: Sweep, options: SweepOptions) -> Sweep:
    changes = _changes(options.set)
    changes |= {"data": str(options.data)} if options.data is not None else {}
    changes |= {"device": options.device} if options.device is not None else {}
    given = {name: getattr(options, name) for name in ("trials", "seeds") if getattr(options, name) is not None}
    tables = sweep.model_dump(exclude_none=True)
    return checked(tables | {"set": sweep.set | changes} | given, where="The sweep with its flags")


def _changes(words: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    problems = []
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or not path:
            problems.append(f"--set {word} has no value: give PATH=VALUE, such as training.epochs=20.")
            continue
        try:
            changes[path] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            changes[path] = text
    if problems:
        raise InputError(listed(problems))
    return changes


def _told(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _tell_best(table: SweepTable) -> None:
    best = next(row for row in table.rows if row["trial"] == table.best)
    if len(table.rows) > 1 and len({row.get("score") for row in table.rows}) == 1:
        print(f"all trials came to the same {table.score.replace('_', ' ')}: {best['score']:.2f} %")
        return
    by = table.score.replace("_", " ")
    fair = " (chosen by test images: no fair result)" if table.score.startswith("test_") else ""
    print(f"best {by}: {best['score']:.2f} %, {best['name']}{fair}")


def _draw(table: SweepTable, path: Path) -> None:
    from locallearn.sweeping.chart import save_chart

    save_chart(table, path)
    print(f"chart: {path}", file=sys.stderr)


def _as_json(table: SweepTable) -> dict[str, Any]:
    plain = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    rows = [row | {"run": str(row["run"])} for row in table.rows]
    return {"run": str(plain.pop("path")), **plain, "rows": rows}
