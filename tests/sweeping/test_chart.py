from __future__ import annotations

from pathlib import Path

import pytest

from locallearn.plotting.figure_file import styled
from locallearn.sweeping.chart import save_chart, sweep_chart
from locallearn.sweeping.table import SweepTable


def table(kind, fields, values, *, axis=None, score="validation_accuracy", published=None):
    rows = [
        {
            "trial": number,
            "name": str(each.get("case", each)),
            "state": "failed" if height is None else "finished",
            "values": each,
            "score": height,
            "deviations": {score: 0.5},
            "published": {} if published is None else {"test_error": published[number]},
        }
        for number, (each, height) in enumerate(values)
    ]
    return SweepTable(Path("x"), "a sweep", "", kind, axis, fields, score, 1, {}, len(rows), tuple(rows), 0)


def lines(figure, panel=0):
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[panel].get_lines()
    }


def test_a_grid_over_one_number_is_a_line_in_the_order_of_values_without_what_failed():
    made = table("grid", ("m",), [({"m": 0.9}, 3.0), ({"m": 0.5}, 1.0), ({"m": 0.7}, None)], axis="m")
    with styled():
        figure = sweep_chart(made)
    assert lines(figure) == {"here": ([0.5, 0.9], [1.0, 3.0])}
    assert figure.axes[0].get_xlabel() == "m" and figure.axes[0].get_ylabel() == "validation accuracy in %"


def test_a_grid_over_two_fields_has_a_line_for_each_value_of_the_first():
    values = [({"h": h, "m": m}, 10.0 * m + len(h)) for h in ("a", "bb") for m in (1, 2)]
    with styled():
        figure = sweep_chart(table("grid", ("h", "m"), values))
    assert lines(figure) == {"h = a": ([1, 2], [11.0, 21.0]), "h = bb": ([1, 2], [12.0, 22.0])}


def test_printed_errors_stand_beside_test_scores_only():
    values = [({"case": "a", "m": 1.0}, 90.0), ({"case": "b", "m": 2.0}, 91.0)]
    common = {"axis": "m", "published": [9.0, 8.0]}
    with styled():
        beside = sweep_chart(table("case", ("case",), values, score="test_accuracy", **common))
        alone = sweep_chart(table("case", ("case",), values, **common))
    assert lines(beside)["published"] == ([1.0, 2.0], [91.0, 92.0]) and list(lines(alone)) == ["here"]


def test_a_search_has_a_panel_for_each_number():
    values = [({"lr": lr, "head": "x", "n": n}, lr) for lr, n in ((0.5, 29), (15.0, 1))]
    with styled():
        figure = sweep_chart(table("search", ("lr", "head", "n"), values))
    assert [axes.get_xlabel() for axes in figure.axes] == ["lr", "n"]
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear"]
    assert lines(figure, 1) == {"trials": ([1, 29], [15.0, 0.5])}


@pytest.mark.parametrize("ending", [".svg", ".png"])
def test_cases_without_a_number_are_rows(tmp_path, ending):
    made = table(
        "case", ("case",), [({"case": "a"}, 90.0), ({"case": "b"}, 80.0)], score="test_accuracy", published=[1.0, 2.0]
    )
    with styled():
        figure = sweep_chart(made)
    assert lines(figure)["published"] == ([99.0, 98.0], ["a", "b"])
    bars = figure.axes[0].containers[0].lines[2][0].get_segments()
    assert [bar[:, 0].tolist() for bar in bars] == [[89.5, 90.5], [79.5, 80.5]]
    save_chart(made, tmp_path / f"chart{ending}")
    assert (tmp_path / f"chart{ending}").stat().st_size > 1000
