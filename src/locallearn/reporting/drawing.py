"""Charts as they stand in a report: small enough for a phone, headed by the page and not by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locallearn.plotting.chart import legend_below
from locallearn.reporting.document import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4.5
_LETTERS = 60
"""Inches; letters of 9 points stay legible where this becomes the width of a phone."""


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
    figure.set_size_inches(WIDTH, height if width <= WIDTH else max(height * 0.9, 2.0))
    for legend in list(figure.legends):
        longest = max(len(text.get_text()) for text in legend.get_texts())
        legend.remove()
        legend_below(figure, columns=max(1, _LETTERS // (longest + 7)))
    if not headed:
        for axes in figure.axes:
            axes.set_title("", loc="left")
    return figure
