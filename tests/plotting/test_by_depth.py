"""Lines of many blocks."""

from __future__ import annotations

from locallearn.plotting.by_depth import DepthLine, by_depth, depth_colors
from locallearn.plotting.figure_file import styled
from plotting.test_figure_file import luminance


def test_colours_say_how_deep_a_block_is_and_dashes_which_kind():
    shallow = [DepthLine(1, (1, 2), (10.0, None)), DepthLine(3, (1, 2), (20.0, 30.0), dashed=True)]
    with styled():
        figure = by_depth(
            {"one": shallow, "two": [DepthLine(3, (1,), (5.0,))]}, title="t", x="epochs", value="accuracy"
        )
    one, two, bar = figure.axes
    assert (one.get_title("left"), two.get_title("left")) == ("one", "two")
    first, last = one.lines
    assert len(first.get_xdata()) == 1 and last.get_linestyle() == "--"
    assert last.get_color() == two.lines[0].get_color() != first.get_color()
    assert bar.get_ylabel() == "block" and bar.get_ylim() == (1, 3)


def test_five_runs_take_two_rows_and_leave_one_place_empty():
    panels = {str(index): [DepthLine(1, (1,), (1.0,))] for index in range(5)}
    with styled():
        figure = by_depth(panels, title="", x="", value="")
    assert [axes.get_visible() for axes in figure.axes[:6]] == [True] * 5 + [False]


def test_every_depth_stands_out_from_white_and_from_dark_pages():
    for step in range(21):
        color = "#" + "".join(f"{round(255 * part):02x}" for part in depth_colors()(step / 20)[:3])
        assert 1.05 / (luminance(color) + 0.05) >= 3
        assert (luminance(color) + 0.05) / (luminance("#16191c") + 0.05) >= 3
