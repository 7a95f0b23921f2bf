"""Curves over depth."""

from __future__ import annotations

import numpy

from locallearn.plotting.figure_file import styled
from locallearn.plotting.over_depth import over_depth


def test_a_line_for_each_run_with_gaps_and_error_bars():
    curves = {"one": [1.0, None, 3.0], "two": [4.0, 5.0, 6.0]}
    with styled():
        figure = over_depth(curves, title="title", value="accuracy", spreads={"two": [0.1, 0.2, 0.3]})
    (axes,) = figure.axes
    one, two = axes.containers
    assert numpy.array_equal(one.lines[0].get_xydata(), [[1, 1], [3, 3]])
    assert not one.has_yerr and two.has_yerr
    lengths = [upright[1][1] - upright[0][1] for upright in two.lines[2][0].get_segments()]
    assert numpy.allclose(lengths, [0.2, 0.4, 0.6])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
