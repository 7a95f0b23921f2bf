"""Which runs are compared, and what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from locallearn.analysis import TrainedRun
from locallearn.analysis.curves import series
from locallearn.metrics.words import in_words
from locallearn.planning.fitting import written_bytes
from locallearn.recipes.stored import METRICS, RECIPE, SUMMARY, TIMINGS
from locallearn.reporting.beside_papers import comparisons
from locallearn.reporting.charts import memory_against_result
from locallearn.reporting.document import MISSING, Note, Row, Section, Source, Table
from locallearn.reporting.equal_budget import in_time
from locallearn.reporting.readings import from_summary, quantity, result
from locallearn.reporting.subjects import Chapter, Subject


def compared(chapter: Chapter) -> Section:
    """What each subject is.

    Args:
        chapter: What is compared.

    Returns:
        A row for each subject.
    """
    columns = (
        "run", "recipe", "network", "method", "blocks", "batch", "epochs", "steps", "seeds", "state", "trained with",
        "folders",
    )  # fmt: skip
    rows = tuple(_described(subject) for subject in chapter.subjects)
    return Section("What is compared", (Table(columns, rows, f"Runs on {chapter.title}"),))


def results(chapter: Chapter, *, verdicts: bool) -> Section:
    """What each subject came to, and at which memory.

    Args:
        chapter: What is compared.
        verdicts: Whether the results are judged against the published ones.

    Returns:
        A table, a chart of memory, and what the data sets warned of.
    """
    words = in_words(quantity(chapter.score))
    columns = ("run", "seeds", f"{words} (%)", "published (%)", *(("verdict",) if verdicts else ()))
    columns = (*columns, "peak of a step", "of backprop's", "training", "auxiliary parameters")
    rows = tuple(_row(subject, chapter.score, verdicts=verdicts) for subject in chapter.subjects)
    caption = f"Results on {chapter.title} after the last epoch; mean ± deviation where there are several seeds"
    chart = memory_against_result(chapter)
    told = dict.fromkeys(note for run in chapter.runs for note in from_summary(run, "notes") or ())
    unfinished = [subject.label for subject in chapter.subjects if not subject.is_finished]
    notes = [Note(note) for note in told]
    if unfinished:
        notes.append(
            Note(f"Not finished: {', '.join(unfinished)}. What is shown of them is their last evaluated epoch.")
        )
    return Section("Results", (Table(columns, rows, caption), *notes, *((chart,) if chart else ())))


def _described(subject: Subject) -> Row:
    recipe, run = subject.recipe, subject.runs[0]
    folder = str(run.path)
    cells = (
        subject.label,
        recipe.title or MISSING,
        recipe.network.name,
        recipe.method.name,
        _said(from_summary(run, "num_blocks") or recipe.partition.num_blocks),
        str(recipe.training.batch_size),
        str(recipe.training.epochs),
        _said(from_summary(run, "steps") or (run.metrics[-1]["step"] if run.metrics else None)),
        ", ".join(str(each.recipe.seed) for each in subject.runs),
        state(run),
        _versions(subject.runs),
        ", ".join(str(each.path) for each in subject.runs),
    )
    told = Source(folder, SUMMARY, "num_blocks, steps, versions") if run.summary else Source(folder, METRICS, "step")
    return Row(cells, (Source(folder, RECIPE, "all settings"), told))


def state(run: TrainedRun) -> str:
    """How far a run has come.

    Args:
        run: A run.

    Returns:
        Finished, or after which of its epochs it stands.
    """
    if run.is_finished:
        return "finished"
    done = run.metrics[-1]["epoch"] if run.metrics else 0
    return f"unfinished: epoch {done} of {run.recipe.training.epochs}"


def _row(subject: Subject, score: str, *, verdicts: bool) -> Row:
    name = quantity(score)
    own, run = result(subject, name), subject.runs[0]
    numbers = [each for each in comparisons(subject) if f"test_{each.number.name}".endswith(name)]
    papers: dict[str, list[str]] = {}
    for each in numbers:
        papers.setdefault(f"{each.number.value:.2f}", []).append(each.number.paper)
    printed = "; ".join(f"{value} ({', '.join(names)})" for value, names in papers.items()) or "-"
    verdict: tuple[str, ...] = ()
    if verdicts:
        # Of several printed values each has its verdict, in their order; one if all agree.
        found = list({f"{each.number.value:.2f}": each.verdict for each in numbers}.values())
        verdict = (found[0] if len(set(found)) == 1 else "; ".join(found) or "-",)
    peak, backprop = (from_summary(run, field) for field in ("peak_bytes", "backprop_peak_bytes"))
    cells = (
        subject.label,
        str(len(subject.runs)),
        str(own),
        printed,
        *verdict,
        MISSING if peak is None else written_bytes(peak),
        MISSING if peak is None or backprop is None else f"{peak / backprop:.0%}",
        _time(subject.runs),
        _said(_with_commas(from_summary(run, "auxiliary_parameters"))),
    )
    files = (
        [Source(str(run.path), SUMMARY, "peak_bytes, backprop_peak_bytes, auxiliary_parameters")] if run.summary else []
    )
    timed = [Source(str(each.path), TIMINGS, "training_seconds") for each in subject.runs if each.timings]
    return Row(cells, (*own.sources, *files, *timed))


def _time(runs: Sequence[TrainedRun]) -> str:
    totals = [series(run).seconds[-1] if run.metrics else None for run in runs]
    known = [total for total in totals if total is not None]
    return in_time(sum(known) / len(known)) if len(known) == len(totals) else MISSING


def _versions(runs: Sequence[TrainedRun]) -> str:
    found = [from_summary(run, "versions") or {} for run in runs]
    told = [", ".join(f"{name} {number}" for name, number in sorted(each.items())) for each in found]
    return "; ".join(dict.fromkeys(told)) or MISSING


def _with_commas(count: int | None) -> str | None:
    return None if count is None else f"{count:,}"


def _said(value: Any) -> str:
    return MISSING if value is None else str(value)
