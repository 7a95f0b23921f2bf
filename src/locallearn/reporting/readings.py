"""Numbers of runs, each with the place where it stands."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from locallearn.analysis import TrainedRun
from locallearn.recipes.stored import METRICS, SUMMARY
from locallearn.reporting.document import MISSING, Source
from locallearn.reporting.subjects import Subject


@dataclass(frozen=True)
class Reading:
    """A test result of one epoch.

    Args:
        value: In percent.
        epoch: After which it was measured.
        source: Where it stands.
    """

    value: float
    epoch: int
    source: Source


@dataclass(frozen=True)
class Mean:
    """A number over the runs of a subject.

    Args:
        value: Their mean; None if no run has it.
        deviation: The sample's; None of one run.
        sources: Where the runs' numbers stand.
    """

    value: float | None
    deviation: float | None
    sources: tuple[Source, ...]

    def __str__(self) -> str:
        if self.value is None:
            return MISSING
        return f"{self.value:.2f}" + ("" if self.deviation is None else f" ± {self.deviation:.2f}")


def quantity(score: str) -> str:
    """What is told of a score: of accuracy the error.

    Args:
        score: Such as `accuracy` or `mean_iou`.

    Returns:
        The name of the field in `summary.json`.
    """
    return "test_error" if score == "accuracy" else f"test_{score}"


def told(record: Mapping[str, Any], name: str) -> float | None:
    """A result of one epoch.

    Args:
        record: A line of `metrics.jsonl`.
        name: The field in `summary.json`.

    Returns:
        In percent; None if the epoch was not evaluated so.
    """
    if name in record or not name.endswith("_error"):
        return record.get(name)
    accuracy = record.get(f"{name.removesuffix('_error')}_accuracy")
    return None if accuracy is None else 100 - accuracy


def last_reading(run: TrainedRun, name: str) -> Reading | None:
    """The result after the last epoch that was evaluated.

    Args:
        run: Finished or not.
        name: The field in `summary.json`.

    Returns:
        The result; None if there is none.
    """
    if run.is_finished and run.summary is not None:
        value = run.summary.get(name)
        if value is None and name.endswith("_error"):
            accuracy = run.summary.get(f"{name.removesuffix('_error')}_accuracy")
            value = None if accuracy is None else 100 - accuracy
        place = Source(str(run.path), SUMMARY, name)
        return None if value is None else Reading(value, run.summary["epochs"], place)
    return last_within(run, name, [0] * len(run.metrics), 0)


def last_within(run: TrainedRun, name: str, costs: Sequence[float | None], budget: float) -> Reading | None:
    """The result of the last evaluated epoch that a budget allows.

    Args:
        run: Finished or not.
        name: The field in `summary.json`.
        costs: What the run had cost after each epoch.
        budget: In the unit of the costs.

    Returns:
        The result; None if no evaluated epoch costs so little.
    """
    for index in reversed(range(min(len(run.metrics), len(costs)))):
        value, cost = told(run.metrics[index], name), costs[index]
        if value is not None and cost is not None and cost <= budget:
            place = Source(str(run.path), METRICS, f"line {index + 1}")
            return Reading(value, run.metrics[index]["epoch"], place)
    return None


def mean(readings: Sequence[Reading | None]) -> Mean:
    """Readings of several runs as one number.

    Args:
        readings: One of each run.

    Returns:
        Mean and deviation; missing if any is.
    """
    found = [reading for reading in readings if reading is not None]
    sources = tuple(reading.source for reading in found)
    if not found or len(found) < len(readings):
        return Mean(None, None, sources)
    values = [reading.value for reading in found]
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, sources)


def result(subject: Subject, name: str) -> Mean:
    """A subject's result after its last epoch.

    Args:
        subject: Runs of several seeds.
        name: The field in `summary.json`.

    Returns:
        Mean and deviation over the seeds.
    """
    return mean([last_reading(run, name) for run in subject.runs])


def from_summary(run: TrainedRun, name: str) -> Any:
    """What a finished run's summary says.

    Args:
        run: Finished or not.
        name: A field of `summary.json`.

    Returns:
        The value; None where there is none.
    """
    return (run.summary or {}).get(name)
