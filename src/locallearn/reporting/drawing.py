"""Charts as they stand in a report: small enough for a phone, headed by the page and not by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locallearn.plotting.chart import legend_below
from locallearn.reporting.document import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4.5
"""Inches; letters of 9 points stay legible where this becomes the width of a phone."""
_LETTERS, _LINE = 64, 0.19
"""Letters in a row of a legend, and inches that a row takes."""


def drawn(chart: Chart, *, headed: bool = False) -> Figure:
    """A chart's figure.

    Args:
        chart: What to draw; call it inside of `styled`.
        headed: Whether the title is drawn, too.

    Returns:
        The figure.
    """
    figure = chart.draw()
    width, height = figure.get_size_inches()
    figure.set_size_inches(WIDTH, height if width <= WIDTH else max(height * 0.82, 1.5))
    for legend in list(figure.legends):
        names = [text.get_text() for text in legend.get_texts()]
        columns = max(1, _LETTERS // (max(map(len, names)) + 7))
        legend.remove()
        legend_below(figure, columns=columns)
        figure.set_figheight(figure.get_figheight() + _LINE * (-(-len(names) // columns) - 1))
    if not headed:
        figure.suptitle("")
        for axes in figure.axes:
            axes.set_title("", loc="left")
    return figure
