"""Results at equal epochs, equal arithmetic and equal time: what each run had reached when it had cost so much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from locallearn.analysis import TrainedRun
from locallearn.analysis.curves import Axis, series
from locallearn.analysis.stored import FOLDER
from locallearn.metrics.words import headed, in_words
from locallearn.plotting.chart import flops_scale
from locallearn.recipes.stored import METRICS, TIMINGS
from locallearn.reporting.document import MISSING, Note, Row, Section, Source, Table
from locallearn.reporting.readings import Mean, last_within, mean, quantity
from locallearn.reporting.subjects import Chapter, Subject

NAMES: Mapping[Axis, str] = {"epochs": "equal epochs", "flops": "equal FLOPs", "seconds": "equal time"}
RULE = (
    "The budget is what the cheapest of the finished runs came to in all. Each run shows its last evaluated epoch that "
    "costs no more; nothing is interpolated. Learning rates fall over the whole of a run, so a dearer run is seen here "
    "before its rate has fallen, and the cheapest after. Operations are counted for one step (matrix products and "
    "convolutions, forward and backward) times the steps; time is that of training without evaluation, and says "
    "something only where all runs had the same machine to themselves."
)


@dataclass(frozen=True)
class Budget:
    """One way of making runs equal.

    Args:
        axis: What is spent.
        limit: The budget: epochs, operations or seconds.
        found: For each subject the results within it, and the last epochs they come from.
    """

    axis: Axis
    limit: float
    found: tuple[tuple[Mean, tuple[int, ...]], ...]

    def __str__(self) -> str:
        epochs = f"{self.limit:.0f} epoch{'' if self.limit == 1 else 's'}"
        written = {"epochs": epochs, "flops": _flops(self.limit), "seconds": in_time(self.limit)}
        return f"{NAMES[self.axis]}: {written[self.axis]}"


def budgets(chapter: Chapter, flops: Mapping[TrainedRun, int | None]) -> list[Budget]:
    """The three budgets.

    Args:
        chapter: What is compared.
        flops: Operations of one step, by run.

    Returns:
        Those of which every run's cost is known.
    """
    courses = {run: series(run, flops_per_step=flops.get(run)) for run in chapter.runs}
    found = []
    for axis in NAMES:
        costs: dict[TrainedRun, Sequence[float | None]] = {r: getattr(each, axis) or () for r, each in courses.items()}
        totals = {run: cost[-1] for run, cost in costs.items() if cost and cost[-1] is not None}
        if len(totals) == len(costs):
            ended = [total for run, total in totals.items() if run.is_finished]
            limit = min(ended or totals.values())
            each = tuple(_within(subject, costs, limit, chapter.score) for subject in chapter.subjects)
            found.append(Budget(axis, limit, each))
    return found


def equal_budgets(chapter: Chapter, flops: Mapping[TrainedRun, int | None]) -> Section:
    """The section of comparisons at equal cost.

    Args:
        chapter: What is compared.
        flops: Operations of one step, by run.

    Returns:
        A table with a row for each subject and a column for each budget.
    """
    found = budgets(chapter, flops)
    unknown = [name for axis, name in NAMES.items() if axis not in {budget.axis for budget in found}]
    notes = [Note(RULE)] if found else []
    if unknown:
        notes.append(Note(f"Not shown, because what some run has cost is not known: {', '.join(unknown)}."))
    rows = tuple(_row(subject, index, found) for index, subject in enumerate(chapter.subjects))
    caption = f"{headed(in_words(quantity(chapter.score)))} in percent within a common budget; in brackets the epoch"
    table = Table(("run", *map(str, found)), rows, caption)
    return Section("At equal cost", (*notes, *((table,) if found else ())))


def _within(
    subject: Subject, costs: Mapping[TrainedRun, Sequence[float | None]], limit: float, score: str
) -> tuple[Mean, tuple[int, ...]]:
    readings = [last_within(run, quantity(score), costs[run], limit) for run in subject.runs]
    return mean(readings), tuple(dict.fromkeys(reading.epoch for reading in readings if reading is not None))


def _row(subject: Subject, index: int, found: Sequence[Budget]) -> Row:
    priced = {
        "flops": ((f"{FOLDER}/curves.json", "settings.flops_per_step"), (METRICS, "step")),
        "seconds": ((TIMINGS, "training_seconds"),),
    }
    cells: list[str] = []
    sources: list[Source] = []
    for budget in found:
        value, epochs = budget.found[index]
        cells.append(MISSING if value.value is None else f"{value} ({', '.join(map(str, epochs))})")
        sources += value.sources
        places = priced.get(budget.axis, ())
        sources += [
            Source(str(r.path), *place) for r in subject.runs for place in places if (r.path / place[0]).exists()
        ]
    return Row((subject.label, *cells), tuple(dict.fromkeys(sources)))


def _flops(count: float) -> str:
    size, unit = flops_scale(count)
    return f"{count / size:.3g} {unit}"


def in_time(count: float) -> str:
    """A time for people.

    Args:
        count: Seconds.

    Returns:
        In seconds below two minutes, in minutes below two hours, else in hours.
    """
    if count < 120:
        return f"{count:.1f} s"
    return f"{count / 60:.1f} min" if count < 7200 else f"{count / 3600:.1f} h"
