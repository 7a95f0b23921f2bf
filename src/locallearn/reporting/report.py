"""What a report says of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from locallearn.analysis import TrainedRun
from locallearn.errors import command
from locallearn.reporting.beside_papers import beside_papers
from locallearn.reporting.charts import head_accuracy, scores, training_curves
from locallearn.reporting.document import Gap, Note, Report, Section
from locallearn.reporting.equal_budget import equal_budgets
from locallearn.reporting.findings import findings
from locallearn.reporting.results import compared, results
from locallearn.reporting.subjects import Chapter, chapters, checked_runs
from locallearn.reporting.sweeps import sweep_section
from locallearn.sweeping import SweepTable

APART = (
    "These runs were trained on different data or tell different classes apart. Each set has a chapter of its own, and "
    "numbers of different chapters are not ranked against each other."
)


def report_of(
    runs: Sequence[TrainedRun],
    *,
    sweeps: Sequence[SweepTable] = (),
    verdicts: bool = False,
    flops: Mapping[TrainedRun, int | None] | None = None,
    title: str = "Runs compared",
) -> Report:
    """What runs came to, beside each other and beside what papers print.

    Args:
        runs: Finished or not; those that differ in their seed alone are joined.
        sweeps: What sweeps came to; each has a section of its own.
        verdicts: Whether rows are judged against the published numbers.
        flops: Operations of one step, by run; without them nothing is compared at equal arithmetic.
        title: The heading.

    Returns:
        The report, for `html_page` or `markdown_page`.

    Raises:
        InputError: There are neither runs nor sweeps, or the files of runs cannot be read.
    """
    found = chapters(checked_runs(runs)) if runs or not sweeps else ()
    return Report(
        title,
        " ".join([*_lead(runs, found), *_of_sweeps(sweeps)]),
        (
            *((_overview(found),) if found else ()),
            *(_chapter(chapter, verdicts, flops or {}) for chapter in found),
            *map(sweep_section, sweeps),
        ),
    )


def _lead(runs: Sequence[TrainedRun], found: Sequence[Chapter]) -> list[str]:
    if not runs:
        return []
    settings = sum(len(chapter.subjects) for chapter in found)
    return [f"{_count(len(runs), 'run')} of {_count(settings, 'setting')} on {', '.join(c.title for c in found)}."]


def _of_sweeps(sweeps: Sequence[SweepTable]) -> list[str]:
    trials = sum(sweep.trials for sweep in sweeps)
    return [f"{_count(len(sweeps), 'sweep')} of {_count(trials, 'trial')}."] if sweeps else []


def _overview(found: Sequence[Chapter]) -> Section:
    return Section("Overview", (*((Note(APART),) if len(found) > 1 else ()), *scores(found)))


def _chapter(chapter: Chapter, verdicts: bool, flops: Mapping[TrainedRun, int | None]) -> Section:
    heads = head_accuracy(chapter)
    return Section(
        chapter.title,
        (),
        (
            results(chapter, verdicts=verdicts),
            compared(chapter),
            beside_papers(chapter, verdicts=verdicts),
            equal_budgets(chapter, flops),
            Section("Course of training", tuple(training_curves(chapter)) or _nothing_logged(chapter)),
            Section("Heads", (heads,) if heads else (Note("No head's hits were counted in these runs."),)),
            findings(chapter),
        ),
    )


def _nothing_logged(chapter: Chapter) -> tuple[Gap, ...]:
    commands = tuple(command("train", "--resume", run.path) for run in chapter.runs)
    return (Gap("No epoch has ended yet", commands),)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
