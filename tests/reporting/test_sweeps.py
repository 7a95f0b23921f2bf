"""What a report says of sweeps."""

from __future__ import annotations

import json

import pytest

from locallearn.cli import main
from locallearn.plotting.figure_file import styled
from locallearn.reporting import report_of
from locallearn.reporting.document import MISSING
from locallearn.reporting.drawing import drawn
from locallearn.reporting.sweeps import sweep_section
from locallearn.sweeping import sweep_table
from reporting.made_runs import made_run


def trial(number, momentum, accuracy, **more):
    scores = {} if accuracy is None else {"score": accuracy, "test_accuracy": accuracy, "test_error": 100 - accuracy}
    return {
        "trial": number,
        "name": f"method.momentum = {momentum}",
        "state": "failed" if accuracy is None else "finished",
        "reason": None,
        "values": {"method.momentum": momentum},
        "seeds": 1,
        "run": f"trial-{number:04}",
        "published": {},
        "deviations": {},
    } | {**scores, **more}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A sweep of three trials, of which one failed and one is still to come."""
    monkeypatch.chdir(tmp_path)
    made_run(tmp_path / "momentum" / "trial-0000", "digits", [9.0])
    rows = [
        trial(0, 0.9, 91.0, published={"test_error": 8.5}),
        trial(1, 0.99, 93.25),
        trial(2, 1.0, None),
    ]
    table = {
        "title": "Momentum of MAN",
        "source": "Su et al. (MAN), ECCV 2024, table 7",
        "kind": "grid",
        "axis": "method.momentum",
        "fields": ["method.momentum"],
        "score": "test_accuracy",
        "seeds": 1,
        "set": {"training.epochs": 2},
        "trials": 4,
        "best": 1,
        "rows": rows,
    }
    (tmp_path / "momentum" / "sweep.json").write_text(json.dumps(table))
    return tmp_path / "momentum"


def test_trials_are_told_with_what_is_published_and_where_they_are(folder):
    lead, chart, table = sweep_section(sweep_table(folder)).parts
    assert "3 of 4 trials have ended, 1 of them failed." in lead.text and f"--resume {folder}" in lead.text
    assert "93.25 %, method.momentum = 0.99, chosen by test images" in lead.text
    assert "Each trial is 1 run with `training.epochs = 2`." in lead.text
    assert "Source: Su et al. (MAN), ECCV 2024, table 7." in lead.text
    rows = [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows]
    assert [row["method.momentum"] for row in rows] == ["0.9", "0.99", "1"]
    assert [row["test error"] for row in rows] == ["9.00", "6.75", MISSING]
    assert [row["published test error"] for row in rows] == ["8.50", MISSING, MISSING]
    assert rows[2]["run"] == f"failed: {folder / 'trial-0002'}"
    files = [[(source.folder, source.file) for source in row.sources] for row in table.rows]
    assert files[0] == [(str(folder), "sweep.json"), (str(folder / "trial-0000"), "summary.json")]
    assert files[1] == [(str(folder), "sweep.json")]
    assert "method.momentum = 0.9: 91.00; method.momentum = 0.99: 93.25" in chart.alt
    with styled():
        figure = drawn(chart)
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines == {"here": [[0.9, 91.0], [0.99, 93.25]], "published": [[0.9, 91.5]]}
    assert figure.get_suptitle() == ""


def test_a_sweep_whose_trials_all_failed_has_no_chart(folder):
    kept = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(kept | {"rows": kept["rows"][2:], "best": None}))
    lead, table = sweep_section(sweep_table(folder)).parts
    assert "1 of 4 trials have ended, 1 of them failed." in lead.text and len(table.rows) == 1


def test_sweeps_stand_beside_runs_or_alone(folder, tmp_path, capsys):
    assert main.main(["report", "momentum", "--out", "alone.html"]) == 0
    page = (tmp_path / "alone.html").read_text()
    assert "1 sweep of 4 trials." in page and "Sweep: Momentum of MAN" in page and "Overview" not in page
    words = ["report", "momentum/trial-0000", "momentum", "--out", "both.md", "--json"]
    assert main.main(words) == 0
    text = (tmp_path / "both.md").read_text()
    assert "1 run of 1 setting on" in text and "Sweep: Momentum of MAN" in text and "Overview" in text
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["sweeps"] == [{"sweep": "momentum", "best": 1, "trials": 3}] and len(told["rows"]) == 1


def test_without_runs_and_sweeps_there_is_no_report():
    with pytest.raises(ValueError, match="hold no run"):
        report_of([])
