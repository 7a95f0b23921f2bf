"""Curves over the course of training, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locallearn.plotting.chart import chart, legend_below, look
from locallearn.plotting.figure_file import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Lines = Mapping[str, tuple[Sequence[float], Sequence[float | None]]]
"""For each line's name its places along the axis, rising, and as many values; None where there is none."""
_MARKED = 30


@dataclass(frozen=True)
class Panel:
    """One chart of several.

    Args:
        lines: What is drawn.
        x: What lies along, with its unit.
        value: What the values are, with their unit.
        log: Whether values are on a logarithmic axis; those that are not positive are left out then.
        mark: A place that a dotted line marks.
    """

    lines: Lines
    x: str
    value: str
    log: bool = False
    mark: float | None = None


def over_steps(curves: Lines, *, title: str, x: str, value: str, log: bool = False, fill: bool = False) -> Figure:
    """Draw what was measured over epochs, steps, seconds or operations.

    Args:
        curves: What is drawn.
        title: Heading.
        x: What lies along, with its unit.
        value: What the values are, with their unit.
        log: Whether values are on a logarithmic axis; those that are not positive are left out then.
        fill: Whether what lies below a line is shaded, down to 0.

    Returns:
        The figure; draw it inside of `styled`.
    """
    figure, axes = chart(title=title, x=x, value=value)
    _draw(axes, Panel(curves, x, value, log))
    for line in axes.lines if fill else ():
        axes.fill_between(line.get_xdata(), line.get_ydata(), color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_ylim(bottom=0)
    legend_below(figure)
    return figure


def panels_over_steps(panels: Sequence[Sequence[Panel]], *, title: str) -> Figure:
    """Draw several charts of the same lines.

    Args:
        panels: Rows of as many charts, which share what lies along within a column and values within a row.
        title: Heading of all.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.figure import Figure

    rows, columns = len(panels), len(panels[0])
    figure = Figure(figsize=(1.0 + 3.1 * columns, 1.2 + 2.5 * rows), layout="constrained", dpi=150)
    places = figure.subplots(rows, columns, sharex="col", sharey="row", squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    for row, line in enumerate(panels):
        for column, panel in enumerate(line):
            axes = places[row, column]
            _draw(axes, panel)
            axes.set_xlabel(panel.x if row == rows - 1 else "")
            axes.set_ylabel(panel.value if column == 0 else "")
    legend_below(figure)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    for place, (name, (places, values)) in enumerate(panel.lines.items()):
        pairs = zip(places, values, strict=True)
        shown = [(at, height) for at, height in pairs if height is not None and not (panel.log and height <= 0)]
        (line,) = axes.plot([at for at, _ in shown], [height for _, height in shown], label=name, **look(place))
        line.set_linewidth(1.6)
        if len(shown) > _MARKED:
            line.set_marker("None")
    if panel.mark is not None:
        axes.axvline(panel.mark, color=INK, linewidth=0.8, linestyle=":")
    if panel.log:
        from matplotlib.ticker import LogLocator

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter("")
