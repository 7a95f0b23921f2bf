from __future__ import annotations

import pytest

from locallearn.plotting.figure_file import styled
from locallearn.plotting.scatter import scatter


def test_points_and_error_bars():
    with styled():
        figure = scatter({"dgl": (470.0, 9.0), "bp": (2463.0, 6.0)}, title="t", x="x", value="y", spreads={"dgl": 0.5})
    (axes,) = figure.axes
    points = {bar.get_label(): bar.lines[0].get_xydata().tolist() for bar in axes.containers}
    assert points == {"dgl": [[470.0, 9.0]], "bp": [[2463.0, 6.0]]}
    (segment,) = axes.containers[0].lines[2][0].get_segments()
    assert segment[:, 1].tolist() == pytest.approx([8.5, 9.5])
    assert axes.get_xlim() == pytest.approx((0, 1.12 * 2463))
    assert axes.get_ylim() == pytest.approx((6.0 - 0.15 * 3.5, 9.5 + 0.15 * 3.5))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dgl", "bp"]


def test_heights_begin_at_0_where_the_lowest_is_close_to_it():
    with styled():
        (axes,) = scatter({"dgl": (470.0, 9.0), "bp": (2463.0, 0.1)}, title="t", x="x", value="y").axes
    assert axes.get_ylim()[0] == 0
