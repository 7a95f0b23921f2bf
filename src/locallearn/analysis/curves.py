"""The course of training, epoch by epoch, as a run's logs tell it: against epochs, steps, operations and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

from locallearn.analysis.trained_run import TrainedRun
from locallearn.errors import InputError
from locallearn.training.step_cost import step_cost

Axis = Literal["epochs", "steps", "flops", "seconds"]
"""What a course is laid along."""


@dataclass(frozen=True)
class WindowCurve:
    """What one window of blocks reported; all sequences have an entry for each epoch.

    Args:
        blocks: Its first and its last block, counted from 1.
        role: `local`, `independent` or `cascade`.
        loss: Mean weighted loss over the epoch; None where it was never finite.
        accuracy: Of its head on the training images of the epoch, as they were varied and with the weights as they
            were then, in percent; None where it does not predict.
    """

    blocks: tuple[int, int]
    role: str
    loss: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]


@dataclass(frozen=True)
class Curves:
    """A run's course of training; all sequences have an entry for each epoch that has ended.

    Args:
        epochs: Counted from 1.
        steps: Optimizer steps made by then.
        flops: Operations of matrix products and convolutions by then; None if they were not counted.
        seconds: Seconds of training by then, evaluation apart; from the first epoch of which nothing is known on, None.
        loss: Mean loss of the last window, which is the task's on the network's own output.
        train_error: 100 less the accuracy in training, in percent; see `WindowCurve.accuracy`.
        validation_error: Likewise on the images held out; None where epochs were not evaluated.
        test_error: Likewise on the test images.
        windows: In the order of the method.
    """

    epochs: tuple[int, ...]
    steps: tuple[int, ...]
    flops: tuple[int, ...] | None
    seconds: tuple[float | None, ...]
    loss: tuple[float | None, ...]
    train_error: tuple[float | None, ...]
    validation_error: tuple[float | None, ...]
    test_error: tuple[float | None, ...]
    windows: tuple[WindowCurve, ...]

    def along(self, axis: Axis, values: Sequence[float | None]) -> tuple[list[float], list[float | None]]:
        """A curve against an axis, as charts take it.

        Args:
            axis: Which.
            values: One for each epoch.

        Returns:
            Places and values, those epochs left out whose place is not known.
        """
        places: Sequence[float | None] | None = getattr(self, axis)
        if places is None:
            return [], []
        known = [(place, value) for place, value in zip(places, values, strict=True) if place is not None]
        return [place for place, _ in known], [value for _, value in known]


def series(run: TrainedRun, *, flops_per_step: int | None = None) -> Curves:
    """The course of a run so far.

    Args:
        run: Finished or not, of classification.
        flops_per_step: See `flops_per_step`; the curves have no operations without.

    Returns:
        Its curves; without any epoch, empty ones.
    """
    records = run.metrics
    steps = tuple(record["step"] for record in records)
    windows = zip(*(record["blocks"] for record in records), strict=True)
    return Curves(
        epochs=tuple(record["epoch"] for record in records),
        steps=steps,
        flops=None if flops_per_step is None else tuple(flops_per_step * step for step in steps),
        seconds=_seconds(steps, run.timings, run.recipe.training.accumulate),
        loss=tuple(record["blocks"][-1]["loss"] for record in records),
        train_error=_errors(records, "train_accuracy"),
        validation_error=_errors(records, "validation_accuracy"),
        test_error=_errors(records, "test_accuracy"),
        windows=tuple(_window(course) for course in windows),
    )


def flops_per_step(run: TrainedRun) -> int | None:
    """Operations of one optimizer step of a run, counted on fake tensors.

    Args:
        run: Finished or not.

    Returns:
        Those of matrix products and convolutions, forward and backward, in full batches, of which the last one of an
        epoch may be smaller; None where they cannot be counted.
    """
    try:
        return step_cost(run.recipe, run.spec).flops * run.recipe.training.accumulate
    except InputError:
        return None


def _errors(records: Sequence[Mapping[str, Any]], name: str) -> tuple[float | None, ...]:
    values = [record.get(name) for record in records]
    return tuple(None if value is None else 100 - value for value in values)


def _window(course: Sequence[Mapping[str, Any]]) -> WindowCurve:
    first, stop = course[0]["blocks"]
    loss, accuracy = (tuple(record[name] for record in course) for name in ("loss", "accuracy"))
    return WindowCurve((first + 1, stop), course[0]["role"], loss, accuracy)


def _seconds(steps: Sequence[int], timings: Sequence[Mapping[str, Any]], per_step: int) -> tuple[float | None, ...]:
    """Seconds until the end of each epoch; an epoch that was begun by an earlier process counts by its speed."""
    by_epoch = {record["epoch"]: record for record in timings}
    timed = sum(record["batches"] for record in timings)
    per_batch = sum(record["training_seconds"] for record in timings) / timed if timed else None
    own: list[float | None] = []
    for epoch, (before, after) in enumerate(pairwise([0, *steps]), 1):
        record = by_epoch.get(epoch)
        if record is None:
            own.append(None)
        elif record["batches"] > (after - before - 1) * per_step:
            own.append(record["training_seconds"])
        else:
            own.append(None if per_batch is None else per_batch * (after - before) * per_step)

    def add(so_far: float | None, more: float | None) -> float | None:
        return None if so_far is None or more is None else so_far + more

    return tuple(accumulate(own, add))
