"""The papers' summary charts, and the course of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from locallearn.analysis.curves import series
from locallearn.metrics.words import headed, in_words
from locallearn.plotting.bars import bars
from locallearn.plotting.over_depth import over_depth
from locallearn.plotting.over_steps import over_steps
from locallearn.plotting.scatter import scatter
from locallearn.recipes.stored import METRICS, SUMMARY
from locallearn.reporting.document import Chart, Source
from locallearn.reporting.readings import from_summary, quantity, result, told
from locallearn.reporting.subjects import Chapter, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = Mapping[str, tuple[Sequence[float], Sequence[float | None]]]


def scores(chapters: Sequence[Chapter]) -> list[Chart]:
    """Bars of the test score per data set, a chart for each score.

    Args:
        chapters: What may be ranked, each for itself.

    Returns:
        A chart for each score that any run has.
    """
    found = []
    for score in dict.fromkeys(chapter.score for chapter in chapters):
        groups: dict[str, dict[str, tuple[float, float | None]]] = {}
        sources: list[Source] = []
        for chapter in chapters:
            for subject in chapter.subjects if chapter.score == score else ():
                mean = result(subject, f"test_{score}")
                if mean.value is not None:
                    groups.setdefault(chapter.title, {})[subject.label] = (mean.value, mean.deviation)
                    sources += mean.sources
        if groups:
            name = f"test {in_words(score)}"
            alt = "; ".join(
                f"{group}: " + ", ".join(f"{label} {value:.2f}" for label, (value, _) in own.items())
                for group, own in groups.items()
            )
            draw = partial(bars, groups, title=f"{name} per data set", value=f"{name} (%)")
            found.append(Chart(f"{headed(name)} per data set", f"Bars, in percent. {alt}.", draw, tuple(sources)))
    return found


def memory_against_result(chapter: Chapter) -> Chart | None:
    """Points of memory and test result.

    Args:
        chapter: What is compared.

    Returns:
        The chart; None if no run has both.
    """
    name = quantity(chapter.score)
    points: dict[str, tuple[float, float]] = {}
    spreads: dict[str, float] = {}
    sources: list[Source] = []
    for subject in chapter.subjects:
        mean, peak = result(subject, name), from_summary(subject.runs[0], "peak_bytes")
        if mean.value is not None and peak is not None:
            points[subject.label] = (peak / 2**20, mean.value)
            spreads |= {} if mean.deviation is None else {subject.label: mean.deviation}
            sources += [Source(str(run.path), SUMMARY, f"{name}, peak_bytes") for run in subject.runs]
    if not points:
        return None
    words = in_words(name)
    alt = "; ".join(f"{label}: {size:,.1f} MiB, {value:.2f} %" for label, (size, value) in points.items())
    draw = partial(
        scatter,
        points,
        title=f"Memory against {words}",
        x="bytes alive at the peak of a step (MiB)",
        value=f"{words} (%)",
        spreads=spreads,
    )
    return Chart(f"Memory against {words}", f"Points. {alt}.", draw, tuple(sources))


def training_curves(chapter: Chapter) -> list[Chart]:
    """The test result and the last window's training loss over epochs.

    Args:
        chapter: What is compared.

    Returns:
        Charts of what any run has.
    """
    name = quantity(chapter.score)
    words = in_words(name)
    return [
        *_curves(chapter, f"{headed(words)} over epochs", f"{words} (%)", lambda record: told(record, name)),
        *_curves(chapter, "Training loss of the last window", "loss", _last_loss, log=True),
    ]


def head_accuracy(chapter: Chapter) -> Chart | None:
    """The accuracy of every head on the training images of the last epoch, over depth.

    Args:
        chapter: What is compared.

    Returns:
        The chart; None if no head's hits are counted.
    """
    curves: dict[str, list[float | None]] = {}
    sources: list[Source] = []
    for subject in chapter.subjects:
        if found := _heads(subject):
            curves |= found
            sources += [Source(str(r.path), METRICS, f"line {len(r.metrics)}, blocks") for r in subject.runs]
    if not curves:
        return None
    value = "accuracy in training (%)"
    draw = partial(over_depth, curves, title="Heads", value=value)
    alt = f"Lines over blocks. {_ends(curves)}. A network learned in one window has its output alone."
    return Chart("Accuracy of every block's head", alt, draw, tuple(sources))


def _heads(subject: Subject) -> dict[str, list[float | None]]:
    """Means over the seeds, a line for each role that windows have."""
    windows = [window for run in subject.runs for window in series(run).windows]
    roles = list(dict.fromkeys(window.role for window in windows))
    found: dict[str, list[float | None]] = {}
    for role in roles:
        own: dict[int, list[float]] = {}
        for window in windows:
            if window.role == role and (accuracy := window.accuracy[-1]) is not None:
                own.setdefault(window.blocks[1], []).append(accuracy)
        if own:
            label = subject.label if len(roles) == 1 else f"{subject.label}: {role}"
            found[label] = [fmean(own[block]) if block in own else None for block in range(1, max(own) + 1)]
    return found


def _curves(
    chapter: Chapter, title: str, value: str, read: Callable[[Mapping[str, Any]], float | None], *, log: bool = False
) -> list[Chart]:
    curves: dict[str, tuple[list[float], list[float | None]]] = {}
    sources: list[Source] = []
    for subject in chapter.subjects:
        for run in subject.runs:
            values = [read(record) for record in run.metrics]
            if any(value is not None for value in values):
                label = subject.label if len(subject.runs) == 1 else f"{subject.label}, seed {run.recipe.seed}"
                curves[label] = ([record["epoch"] for record in run.metrics], values)
                sources.append(Source(str(run.path), METRICS, f"lines 1 to {len(run.metrics)}"))
    if not curves:
        return []
    alt = f"Lines over epochs. {_ends({label: values for label, (_, values) in curves.items()})}."
    draw = partial(_over_epochs, curves, title=title, value=value, log=log)
    return [Chart(title, alt, draw, tuple(sources))]


def _over_epochs(curves: Curves, *, title: str, value: str, log: bool) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure = over_steps(curves, title=title, x="epoch", value=value, log=log)
    figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _last_loss(record: Mapping[str, Any]) -> float | None:
    return record["blocks"][-1]["loss"]


def _ends(curves: Mapping[str, Sequence[float | None]]) -> str:
    known = {label: [value for value in values if value is not None] for label, values in curves.items()}
    return "; ".join(f"{label}: from {values[0]:.4g} to {values[-1]:.4g}" for label, values in known.items())
