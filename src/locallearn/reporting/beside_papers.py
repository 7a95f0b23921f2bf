"""What papers print, beside what our runs came to."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from locallearn.analysis.stored import FOLDER, stored
from locallearn.metrics.words import in_words
from locallearn.recipes import Published, Recipe, load
from locallearn.recipes.published import names as published_names
from locallearn.recipes.published import title
from locallearn.recipes.settings import DESCRIPTIVE, DRAW, NEUTRAL, settings
from locallearn.recipes.stored import SUMMARY
from locallearn.reporting.document import MISSING, Gap, Note, Row, Section, Source, Table, Verdict
from locallearn.reporting.readings import Mean, Reading, from_summary, mean, result
from locallearn.reporting.subjects import Chapter, Subject

REPRODUCED, CLOSE = 0.5, 2.0
"""How far from a published number, in percentage points, ours may be."""
RULE = (
    f"Rule: `{Verdict.REPRODUCED}` is at most the deviation that the paper prints or {REPRODUCED:g} percentage points "
    f"away, whichever is more; `{Verdict.CLOSE}` at most {CLOSE:g} points; `{Verdict.NOT}` farther, to either side. Of "
    "several seeds the mean is judged. Runs whose settings are not those of the published recipe, such as fewer epochs "
    f"or other batches, are `{Verdict.OTHER_SETTINGS}` and never reproduced."
)
MEMORY = (
    "Papers read memory on a CUDA device and mostly do not say how; ours are the bytes alive at the peak of one step, "
    "counted. They stand beside each other and are not judged."
)


@dataclass(frozen=True)
class Comparison:
    """A published number beside ours.

    Args:
        number: The published one.
        ours: The same of our runs, in its unit.
        verdict: How they stand to each other.
        reason: What is different about the runs, if something is.
    """

    number: Published
    ours: Mean
    verdict: Verdict
    reason: str = ""


@functools.cache
def reference(titled: str) -> Recipe | None:
    """The published recipe of a title.

    Args:
        titled: A recipe's title.

    Returns:
        The recipe as it comes with the package; None if none is called so.
    """
    found = next((name for name in published_names() if title(name) == titled), None)
    return None if found is None else load(found)


def other_settings(recipe: Recipe) -> list[str] | None:
    """Where a run's settings are not those of the published recipe it started from.

    Args:
        recipe: The run's.

    Returns:
        Each such setting with both values; None if its recipe is not one of the package's.
    """
    published = reference(recipe.title)
    if published is None:
        return None
    left_out = (*DESCRIPTIVE, *DRAW, *NEUTRAL)
    ours, theirs = settings(recipe, without=left_out), settings(published, without=left_out)
    changed = [key for key in dict.fromkeys([*theirs, *ours]) if ours.get(key) != theirs.get(key)]
    return [f"{key} {_said(ours.get(key))} (published: {_said(theirs.get(key))})" for key in changed]


def comparisons(subject: Subject) -> list[Comparison]:
    """Every number that papers print for a subject's recipe, beside ours.

    Args:
        subject: Runs of several seeds.

    Returns:
        In the recipe's order; what is printed of back-propagation is the baseline's affair and left out.
    """
    # What a run's own copy of the recipe says was printed may have been edited.
    recipe = reference(subject.recipe.title) or subject.recipe
    own = [number for number in recipe.published if not number.name.startswith("backprop_")]
    return [_compared(subject, number) for number in own]


def judged(number: Published, value: float) -> Verdict:
    """How far a number is from the published one.

    Args:
        number: The published one.
        value: Ours, in its unit.

    Returns:
        Reproduced, close or not.
    """
    apart = round(abs(value - number.value), 6)
    if apart <= max(number.deviation or 0.0, REPRODUCED):
        return Verdict.REPRODUCED
    return Verdict.CLOSE if apart <= CLOSE else Verdict.NOT


def beside_papers(chapter: Chapter, *, verdicts: bool) -> Section:
    """The section of published numbers.

    Args:
        chapter: What is compared.
        verdicts: Whether each row is judged.

    Returns:
        A row for each number of each subject, and the rule.
    """
    found = [(subject, each) for subject in chapter.subjects for each in comparisons(subject)]
    silent = [subject.label for subject in chapter.subjects if not comparisons(subject)]
    parts: list[Note | Gap | Table] = [Note(RULE)] if verdicts and found else []
    if any(each.number.name == "memory" for _, each in found):
        parts.append(Note(MEMORY))
    if found:
        judging = ("verdict", "because of") if verdicts else ()
        columns = ("run", "number", "published", "ours", "difference", *judging, "printed in")
        rows = tuple(_row(subject, each, verdicts=verdicts) for subject, each in found)
        parts.append(Table(columns, rows, "Published numbers beside ours"))
    if silent:
        parts.append(Note(f"The recipes of these runs state no published number: {', '.join(silent)}."))
    return Section("Beside the papers", tuple(parts))


def _compared(subject: Subject, number: Published) -> Comparison:
    ours = _ours(subject, number.name)
    if number.name == "memory":
        return Comparison(number, ours, Verdict.COUNTED_OTHERWISE if ours.value else Verdict.NOT_MEASURED)
    if ours.value is None:
        return Comparison(number, ours, Verdict.NOT_MEASURED if subject.is_finished else Verdict.UNFINISHED)
    changed = other_settings(subject.recipe)
    if changed is None:
        reason = "the recipe is not one of the package's, so its settings cannot be compared"
        return Comparison(number, ours, Verdict.OTHER_SETTINGS, reason)
    if changed:
        return Comparison(number, ours, Verdict.OTHER_SETTINGS, "; ".join(changed))
    if not subject.is_finished:
        return Comparison(number, ours, Verdict.UNFINISHED)
    return Comparison(number, ours, judged(number, ours.value))


def _ours(subject: Subject, name: str) -> Mean:
    if name == "memory":
        peaks = [(run, from_summary(run, "peak_bytes")) for run in subject.runs]
        return mean(
            [
                None if peak is None else Reading(peak / 1e9, 0, Source(str(run.path), SUMMARY, "peak_bytes"))
                for run, peak in peaks
            ]
        )
    if name.endswith("_accuracy"):
        return _transferred(subject, f"transfer-{name.removesuffix('_accuracy')}")
    return result(subject, name if name.startswith("test_") else f"test_{name}")


def _transferred(subject: Subject, analysis: str) -> Mean:
    # Papers match classes by name; another map measures something else.
    found = [(run, stored(run).get(analysis)) for run in subject.runs]
    return mean(
        [
            Reading(record["mapped_accuracy"], 0, Source(str(run.path), f"{FOLDER}/{analysis}.json", "mapped_accuracy"))
            if record and record.get("mapped_accuracy") is not None and record.get("mapped_by") == "name"
            else None
            for run, record in found
        ]
    )


def _row(subject: Subject, each: Comparison, *, verdicts: bool) -> Row:
    number, ours = each.number, each.ours
    printed = f"{number.value:.2f}" + ("" if number.deviation is None else f" ± {number.deviation:.2f}")
    away = MISSING if ours.value is None else f"{ours.value - number.value:+.2f}"
    judging = (each.verdict, each.reason or "-") if verdicts else ()
    place = ", ".join(part for part in (number.paper, number.where) if part)
    name = f"{in_words(number.name)} ({number.unit})"
    return Row((subject.label, name, printed, str(ours), away, *judging, place), ours.sources)


def _said(value: object) -> str:
    return "not set" if value is None else str(value)
