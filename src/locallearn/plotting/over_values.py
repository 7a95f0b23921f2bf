"""Scores over the values of a setting, or one below the other where rows have only names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from locallearn.plotting.chart import legend_below, look
from locallearn.plotting.figure_file import COLORS, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDEST = 4
"""Panels beside each other."""
CLOSE = 0.12
"""Share of an axis below which the names of neighbours run into each other."""


@dataclass(frozen=True)
class Panel:
    """Scores over one setting.

    Args:
        setting: Its name.
        lines: For each line's name its points (value, score), by rising value.
        log: Whether the values are spread over a logarithm.
        connected: Whether a line joins the points; of a search, whose other settings vary, it does not.
    """

    setting: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log: bool = False
    connected: bool = True


def over_values(panels: Sequence[Panel], *, title: str, score: str) -> Figure:
    """Draw scores over settings, a panel for each.

    Args:
        panels: At least one.
        title: Heading.
        score: What the scores are, with their unit.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), WIDEST)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.4 if columns == 1 else 3.4 * columns, 4.0 * rows), layout="constrained", dpi=150)
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for place, panel in zip(places, panels, strict=False):
        _draw(place, panel)
    for place in places[len(panels) :]:
        place.set_axis_off()
    for place in places[::columns]:
        place.set_ylabel(score)
    figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=9)
    if len(panels[0].lines) > 1:
        legend_below(figure)
    return figure


def by_name(
    scores: Mapping[str, float],
    *,
    title: str,
    score: str,
    spreads: Mapping[str, float] | None = None,
    published: Mapping[str, float] | None = None,
) -> Figure:
    """Draw scores of rows that have only names, the first on top.

    Args:
        scores: Scores by name.
        title: Heading.
        score: What the scores are, with their unit.
        spreads: Half the length of error bars.
        published: Numbers to mark beside them.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1.4 + 0.4 * len(scores)), layout="constrained", dpi=150)
    axes = figure.subplots()
    names, heights = list(scores), list(scores.values())
    errors = [spreads.get(name, 0.0) for name in names] if spreads else None
    axes.errorbar(heights, names, xerr=errors, fmt="o", color=COLORS[0], markersize=6, capsize=2, label="here")
    if published:
        kept = {name: published[name] for name in names if name in published}
        axes.plot(list(kept.values()), list(kept), "D", color=COLORS[1], markerfacecolor="none", label="published")
        legend_below(figure)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(score)
    axes.grid(axis="both", alpha=0.25, linewidth=0.5)
    figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=9)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    style = "-" if panel.connected else ""
    values = sorted({value for points in panel.lines.values() for value, _ in points})
    for place, (name, points) in enumerate(panel.lines.items()):
        lined = {"linewidth": 1.6, "linestyle": style or "none"}
        axes.plot([value for value, _ in points], [score for _, score in points], label=name, **lined, **look(place))
    if panel.log:
        axes.set_xscale("log")
    elif panel.connected and len(values) <= 8:
        close = any(after - before < CLOSE * (values[-1] - values[0]) for before, after in pairwise(values))
        axes.set_xticks(values, [f"{value:g}" for value in values], rotation=60 if close or len(values) > 5 else 0)
    axes.set_xlabel(panel.setting, color=INK)
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)
