"""Charts as they stand in a report."""

from __future__ import annotations

from functools import partial

from locallearn.plotting.figure_file import styled
from locallearn.plotting.over_steps import over_steps
from locallearn.reporting.document import Chart
from locallearn.reporting.drawing import drawn


def test_a_legend_is_no_wider_than_its_chart():
    names = ("dgl", *(f"a name of thirty-odd letters, lr 0.{place}" for place in range(3)))
    draw = partial(over_steps, {name: ([1, 2], [1.0, 2.0]) for name in names}, title="t", x="x", value="y")
    with styled():
        figure = drawn(Chart("t", "", draw))
        figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width and [text.get_text() for text in legend.get_texts()] == [*names]
