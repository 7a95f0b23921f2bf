"""How charts look and are saved."""

from __future__ import annotations

import sys

import pytest

from locallearn.errors import InputError
from locallearn.plotting.chart import byte_scale, chart, flops_scale, legend_below, look
from locallearn.plotting.figure_file import COLORS, save_figure, styled


def luminance(color):
    """WCAG 2's relative luminance."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", COLORS)
def test_colours_stand_out_from_white_and_from_dark_pages(color):
    assert 1.05 / (luminance(color) + 0.05) >= 3
    assert (luminance(color) + 0.05) / (luminance("#16191c") + 0.05) >= 3


def test_many_lines_are_told_apart():
    looks = [(each["color"], each["marker"]) for each in map(look, range(3 * len(COLORS)))]
    assert len(set(looks)) == len(looks)


def test_the_same_figure_gives_the_same_file(tmp_path):
    for name in ("one.svg", "two.svg"):
        with styled():
            figure, axes = chart(title="title", x="x", value="y")
            axes.plot([1, 2], label="line")
            legend_below(figure)
            save_figure(figure, tmp_path / "new" / name)
    assert (tmp_path / "new" / "one.svg").read_bytes() == (tmp_path / "new" / "two.svg").read_bytes()


def test_an_unknown_ending_and_a_missing_matplotlib_are_told(tmp_path, monkeypatch):
    with styled():
        figure, _ = chart(title="", x="", value="")
        with pytest.raises(InputError, match=r"end its name with \.png, \.svg or \.pdf"):
            save_figure(figure, tmp_path / "figure.gift")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="needs matplotlib"), styled():
        pass


def test_bytes_have_the_unit_they_read_well_in():
    assert byte_scale(4 * 2**30 - 1) == (2**20, "MiB")
    assert byte_scale(4 * 2**30) == (2**30, "GiB")


def test_operations_have_the_unit_they_read_well_in():
    assert flops_scale(3e13) == (1e12, "TFLOP")
    assert flops_scale(1e15) == (1e15, "PFLOP")
    assert flops_scale(5.0) == (1e6, "MFLOP")
