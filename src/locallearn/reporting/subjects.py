"""Which runs stand beside each other: seeds joined, other data or classes apart."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from locallearn.analysis import TrainedRun
from locallearn.analysis.stored import stored
from locallearn.errors import InputError, listed
from locallearn.recipes import Recipe
from locallearn.recipes.settings import DESCRIPTIVE, DRAW, settings
from locallearn.recipes.stored import METRICS, SUMMARY, TIMINGS
from locallearn.tasks.named import task_of

_READ: Mapping[str, Callable[[TrainedRun], Any]] = {
    METRICS: lambda run: run.metrics,
    TIMINGS: lambda run: run.timings,
    SUMMARY: lambda run: run.summary,
    "A file of analysis/": stored,
}


@dataclass(frozen=True, eq=False)
class Subject:
    """Runs that differ in their seed alone.

    Args:
        label: What to call them; no other subject of the chapter is called so.
        runs: At least one; several only if all are finished.
    """

    label: str
    runs: tuple[TrainedRun, ...]

    @property
    def recipe(self) -> Recipe:
        """The first run's."""
        return self.runs[0].recipe

    @property
    def is_finished(self) -> bool:
        """Whether the training has ended."""
        return self.runs[0].is_finished


@dataclass(frozen=True, eq=False)
class Chapter:
    """What may be ranked: subjects tested on the same images with the same classes.

    Args:
        title: The data set, in prose.
        score: What the task is measured by, such as `accuracy`.
        classes: The classes told apart.
        subjects: In the order of their runs.
    """

    title: str
    score: str
    classes: tuple[str, ...]
    subjects: tuple[Subject, ...]

    @property
    def runs(self) -> tuple[TrainedRun, ...]:
        """All runs of all subjects."""
        return tuple(run for subject in self.subjects for run in subject.runs)


def checked_runs(runs: Sequence[TrainedRun]) -> list[TrainedRun]:
    """Refuse runs whose files cannot be read, all at once.

    Args:
        runs: Runs as their folders show them.

    Returns:
        The same runs.

    Raises:
        InputError: There are none, or a log or summary is damaged.
    """
    if not runs:
        raise InputError("The folders hold no run yet: give folders in which training has begun.")
    problems = []
    for run in runs:
        for name, read in _READ.items():
            try:
                read(run)
            except ValueError as error:
                problems.append(
                    f"{name} of {str(run.path)!r} cannot be read ({error}): restore it, or leave the run out."
                )
    if problems:
        raise InputError(listed(problems))
    return list(runs)


def chapters(runs: Sequence[TrainedRun]) -> tuple[Chapter, ...]:
    """Runs sorted into what may be compared.

    Args:
        runs: At least one.

    Returns:
        A chapter for each data set and set of classes, in the order of the runs.
    """
    found: dict[tuple[str, tuple[str, ...]], list[TrainedRun]] = {}
    for run in runs:
        found.setdefault((run.recipe.dataset.name, run.classes), []).append(run)
    often = Counter(name for name, _ in found)
    return tuple(
        Chapter(
            _title(members[0], classes if often[name] > 1 else None), score(members[0]), classes, _subjects(members)
        )
        for (name, classes), members in found.items()
    )


def score(run: TrainedRun) -> str:
    """What a run's task is measured by.

    Args:
        run: A run.

    Returns:
        Such as `accuracy` or `mean_iou`.
    """
    told = (run.metrics[-1] if run.metrics else {}) | (run.summary or {})
    return told["score"] if "score" in told else task_of(run.spec).metric().name


def learned(recipe: Recipe) -> str:
    """All that decides what is learned but the seed, as a key.

    Args:
        recipe: A run's.

    Returns:
        The same for runs that differ in nothing but their seed and where their images lie.
    """
    return json.dumps(settings(recipe, without=(*DESCRIPTIVE, *DRAW)), sort_keys=True)


def _title(run: TrainedRun, classes: tuple[str, ...] | None) -> str:
    name = re.split(r" ?[,(]", run.spec.title)[0]
    if classes is None:
        return name
    return f"{name}, {len(classes)} classes ({', '.join(classes[:2])}, ...)"


def _subjects(runs: Sequence[TrainedRun]) -> tuple[Subject, ...]:
    groups: dict[str, list[TrainedRun]] = {}
    for run in runs:
        # What is under way stands alone: its epochs are not those of the others.
        own = "" if run.is_finished else str(run.path.resolve())
        key = learned(run.recipe) + own
        if run.recipe.seed in [other.recipe.seed for other in groups.get(key, ())]:
            key += str(run.path.resolve())  # the same draw again is no further seed
        groups.setdefault(key, []).append(run)
    members = [tuple(group) for group in groups.values()]
    return tuple(
        Subject(label if group[0].is_finished else f"{label}, unfinished", group)
        for label, group in zip(_labels(members), members, strict=True)
    )


def _labels(groups: Sequence[tuple[TrainedRun, ...]]) -> list[str]:
    methods = [group[0].recipe.method.name for group in groups]
    labels = [
        method if methods.count(method) == 1 else _told_apart(group, [g for g in groups if _method(g) == method])
        for method, group in zip(methods, groups, strict=True)
    ]
    labels = [
        label if labels.count(label) == 1 else f"{_method(group)}, {group[0].name}"
        for label, group in zip(labels, groups, strict=True)
    ]
    return [
        label if labels.count(label) == 1 else f"{_method(group)}, {group[0].path}"
        for label, group in zip(labels, groups, strict=True)
    ]


def _method(group: Sequence[TrainedRun]) -> str:
    return group[0].recipe.method.name


def _told_apart(group: Sequence[TrainedRun], alike: Sequence[Sequence[TrainedRun]]) -> str:
    # By the settings in which runs of one method differ, where these are few.
    tables = [settings(other[0].recipe, without=(*DESCRIPTIVE, *DRAW)) for other in alike]
    own = settings(group[0].recipe, without=(*DESCRIPTIVE, *DRAW))
    varied = [
        key for key in {**own, **{k: None for t in tables for k in t}} if len({str(t.get(key)) for t in tables}) > 1
    ]
    if not 1 <= len(varied) <= 2:
        return f"{_method(group)}, {group[0].name}"
    told = [_setting(key, own.get(key)) for key in varied]
    return ", ".join([_method(group), *told])


def _setting(key: str, value: Any) -> str:
    if key == "partition.num_blocks":
        return f"K={value}"
    return str(value) if key == "network.name" else f"{key.rpartition('.')[2]} {value}"
