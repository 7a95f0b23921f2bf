"""Rows as a table, as CSV and as LaTeX: the same cells."""

from __future__ import annotations

import csv
import io

import pytest

from locallearn.cli.tables import print_rows

ROWS = [
    {"method": "back_prop", "ratio": 1.0, "bytes": 1_000_000, "time": None},
    {"method": 'a, "b" & 50%', "ratio": 0.123456},
]


def printed(form: str, capsys: pytest.CaptureFixture[str]) -> str:
    print_rows(ROWS, form=form)
    return capsys.readouterr().out


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]):
    read = list(csv.reader(io.StringIO(printed("csv", capsys))))
    assert read == [
        ["method", "ratio", "bytes", "time"],
        ["back_prop", "1", "1000000", "-"],
        ['a, "b" & 50%', "0.1235", "-", "-"],
    ]


def test_latex_escapes(capsys: pytest.CaptureFixture[str]):
    lines = printed("latex", capsys).splitlines()
    assert lines[0] == r"\begin{tabular}{llll}" and lines[-1] == r"\end{tabular}"
    assert lines[3] == r"back\_prop & 1 & 1000000 & - \\" and lines[4] == r'a, "b" \& 50\% & 0.1235 & - & - \\'


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    assert printed("table", capsys).splitlines()[:2] == [
        "method        ratio   bytes    time",
        "back_prop     1       1000000  -",
    ]


def test_a_ruled_table_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    text = printed("table", capsys)
    assert "back_prop" in text and "━" in text
