"""Runs that can stand beside each other: of one data set, with everything there that an analysis reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from locallearn.analysis.trained_run import TrainedRun, opened_all
from locallearn.errors import InputError, listed


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
        if _data(run) != _data(first)
    ]
    if problems:
        raise InputError(listed(problems))
    return runs


def _problems(run: TrainedRun, *, finished: bool, checkpoints: bool) -> list[str]:
    name, problems = str(run.path), []
    if run.spec.task != "classification":
        problems.append(f"{name!r} is a run of {run.spec.task}, and only runs of classification can be looked into so.")
    if finished and not run.is_finished:
        problems.append(f"{name!r} has not ended: go on with it by locallearn train --resume {name}.")
    elif checkpoints and not run.steps:
        problems.append(f"{name!r} has no checkpoint, which alone has the auxiliary networks: train it again.")
    return problems


def _data(run: TrainedRun) -> str:
    height, width = run.spec.shape[1:]
    return f"{run.spec.name} with {len(run.spec.classes)} classes at {height}x{width}"
