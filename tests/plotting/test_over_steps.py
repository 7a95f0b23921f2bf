"""Curves over training."""

from __future__ import annotations

import numpy

from locallearn.plotting.figure_file import styled
from locallearn.plotting.over_steps import Panel, over_steps, panels_over_steps


def test_what_is_missing_or_not_positive_is_left_out():
    curves = {"one": ([1, 2, 3], [0.5, None, 0.25]), "two": ([1.5], [0.0]), "none": ([], [])}
    with styled():
        linear = over_steps(curves, title="title", x="epochs", value="loss").axes[0]
        logarithmic = over_steps(curves, title="title", x="epochs", value="loss", log=True).axes[0]
    assert (linear.get_xlabel(), linear.get_ylabel(), linear.get_yscale()) == ("epochs", "loss", "linear")
    assert logarithmic.get_yscale() == "log"
    assert [len(line.get_xdata()) for line in linear.lines] == [2, 1, 0]
    assert [len(line.get_xdata()) for line in logarithmic.lines] == [2, 0, 0]
    assert numpy.array_equal(linear.lines[0].get_xydata(), [[1, 0.5], [3, 0.25]])


def test_long_curves_have_no_marks():
    with styled():
        curves = {"long": (range(31), [1.0] * 31), "short": (range(30), [1.0] * 30)}
        axes = over_steps(curves, title="", x="", value="").axes[0]
    assert [line.get_marker() for line in axes.lines] == ["None", "o"]


def test_panels_share_axes_and_mark_a_place():
    lines = {"one": ([1, 2], [1.0, 0.1])}
    with styled():
        figure = panels_over_steps(
            [[Panel(lines, "epochs", "loss", log=True), Panel(lines, "seconds", "loss", log=True, mark=1.5)]] * 2,
            title="title",
        )
    assert len(figure.axes) == 4 and len(figure.legends) == 1
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epochs", "seconds"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "", "loss", ""]
    assert [len(axes.lines) for axes in figure.axes] == [1, 2, 1, 2]
    assert list(figure.axes[1].lines[1].get_xdata()) == [1.5, 1.5]


def test_what_lies_below_a_line_can_be_shaded():
    with styled():
        axes = over_steps({"a": ([0, 1], [2.0, 3.0])}, title="", x="", value="", fill=True).axes[0]
    assert axes.get_ylim()[0] == 0
    assert {tuple(point) for point in axes.collections[0].get_paths()[0].vertices} >= {(0, 0), (0, 2), (1, 3), (1, 0)}
