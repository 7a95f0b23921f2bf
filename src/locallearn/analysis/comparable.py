"""Runs that can stand beside each other: of one data set, with everything there that an analysis reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locallearn.analysis.trained_run import TrainedRun, opened_all
from locallearn.errors import InputError, command, listed


def opened_together(paths: Sequence[Path], *, finished: bool = True, checkpoints: bool = False) -> list[TrainedRun]:
    """Runs of image classification to look into beside each other; all that is wrong is told at once.

    Args:
        paths: Folders; one of several seeds stands for all of them.
        finished: Whether each must have ended.
        checkpoints: Whether each must have a checkpoint, which alone has the auxiliary networks.

    Returns:
        The runs in that order.

    Raises:
        InputError: A folder holds no run or is named twice; a run is of another task, has not ended or has no
            checkpoint; or the runs are of several data sets, numbers of classes or sizes of images.
    """
    runs = opened_all(paths)
    if not runs:
        raise InputError("Give the folder of at least one run.")
    problems = [problem for run in runs for problem in _problems(run, finished=finished, checkpoints=checkpoints)]
    first, *others = runs
    problems += [
        f"{str(run.path)!r} is of {_data(run)}, and {str(first.path)!r} of {_data(first)}: give runs of one data set."
        for run in others
        if not _are_alike(run, first)
    ]
    if problems:
        raise InputError(listed(problems))
    return runs


def _problems(run: TrainedRun, *, finished: bool, checkpoints: bool) -> list[str]:
    name, problems = str(run.path), []
    if run.spec.task != "classification":
        problems.append(f"{name!r} is a run of {run.spec.task}, and only runs of classification can be looked into so.")
    if finished and not run.is_finished:
        go_on = command("train", "--resume", run.path)
        problems.append(f"{name!r} has not ended, or has lost its network or summary: go on with it by {go_on}.")
    elif checkpoints and not run.steps:
        problems.append(f"{name!r} has no checkpoint, which alone has the auxiliary networks: train it again.")
    return problems


def _are_alike(run: TrainedRun, other: TrainedRun) -> bool:
    # The names of a folder's classes are known once a network has been saved.
    named = run.classes == other.classes or not (run.is_finished and other.is_finished)
    return named and _form(run) == _form(other)


def _form(run: TrainedRun) -> tuple[Any, ...]:
    return run.spec.name, len(run.spec.classes), run.spec.shape


def _data(run: TrainedRun) -> str:
    height, width = run.spec.shape[1:]
    return (
        f"{run.spec.name} with {len(run.spec.classes)} classes ({', '.join(run.classes[:3])}, ...) at {height}x{width}"
    )
