from __future__ import annotations

import pytest

from locallearn.plotting.bars import bars
from locallearn.plotting.figure_file import styled


def test_lengths_names_and_colours():
    with styled():
        figure = bars(
            {"one": {"dgl": (90.0, 0.5), "man": (95.0, None)}, "two": {"man": (40.0, None)}}, title="t", value="%"
        )
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [90.0, 95.0, 40.0]
    assert [bar.get_x() for bar in axes.patches] == [0, 0, 0] and axes.get_xlim()[0] == 0
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dgl", "man", "man"]
    places = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert places == sorted(places) == pytest.approx(axes.get_yticks().tolist()) and axes.yaxis_inverted()
    first, second, third = (bar.get_facecolor() for bar in axes.patches)
    assert second == third != first
    assert {text.get_text() for text in axes.texts} == {"one", "two", "90.00 ± 0.50", "95.00", "40.00"}
