"""What a whole report says, and how far its numbers can be traced."""

from __future__ import annotations

import json
import re
import statistics
from functools import reduce
from pathlib import Path

from locallearn.analysis import opened_all
from locallearn.plotting.figure_file import styled
from locallearn.reporting import report_of
from locallearn.reporting.document import MISSING, Chart, Table, Verdict
from locallearn.reporting.drawing import WIDTH, drawn
from reporting.made_runs import made_run


def reported(runs, **options):
    flops = {run: 10**9 for run in runs.values()}
    return report_of(list(runs.values()), flops=flops, **options)


def parts_of(report, kind):
    return [part for section in report.sections for part in section.all_parts() if isinstance(part, kind)]


def test_data_sets_have_chapters_and_are_not_ranked_together(runs):
    report = reported(runs)
    assert [section.title for section in report.sections] == ["Overview", "CIFAR-10", "Street View House Numbers"]
    assert "not ranked" in report.sections[0].parts[0].text
    assert report.lead == "6 runs of 4 settings on CIFAR-10, Street View House Numbers."
    results = [table for table in parts_of(report, Table) if table.caption.startswith("Results on")]
    assert [[row.cells[0] for row in table.rows] for table in results] == [
        ["dgl", "backprop", "dgl+man_code, unfinished"],
        ["dgl"],
    ]


def test_what_a_run_under_way_lacks_is_marked_missing(runs):
    table = next(table for table in parts_of(reported(runs), Table) if table.caption.startswith("Results on CIFAR"))
    cells = dict(zip(table.columns, table.rows[2].cells, strict=True))
    assert cells["test error (%)"] == "25.00" and cells["peak of a step"] == MISSING
    described = next(table for table in parts_of(reported(runs), Table) if table.caption.startswith("Runs on CIFAR"))
    assert dict(zip(described.columns, described.rows[2].cells, strict=True))["state"] == "unfinished: epoch 2 of 400"


def test_costs_are_shares_of_back_propagation_s_and_means_over_seeds(runs):
    table = next(table for table in parts_of(reported(runs), Table) if table.caption.startswith("Results on CIFAR"))
    cells = [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows]
    assert [row["of backprop's"] for row in cells] == ["25%", "50%", MISSING]
    assert [row["training"] for row in cells] == ["8.0 s", "20.0 s", "4.0 s"]


def test_results_have_verdicts_only_if_asked(runs):
    verdicts = [cell for table in parts_of(reported(runs), Table) for row in table.rows for cell in row.cells]
    assert not [cell for cell in verdicts if isinstance(cell, Verdict)]
    table = next(t for t in parts_of(reported(runs, verdicts=True), Table) if t.caption.startswith("Results on CIFAR"))
    assert [row.cells[table.columns.index("verdict")] for row in table.rows] == ["close", "close", "unfinished"]


def test_every_number_can_be_traced(runs):
    report = reported(runs)
    marks = report.marks()
    assert sorted(marks.values()) == list(range(1, len(marks) + 1))
    for table in parts_of(report, Table):
        for row in table.rows:
            numbers = [cell for cell in row.cells if re.fullmatch(r"[-+]?\d+\.\d+.*", cell)]
            ours = table.caption != "Published numbers beside ours" or row.cells[3] != MISSING
            assert not (numbers and ours) or row.sources in marks, (table.caption, row)
    for sources in marks:
        for source in sources:
            run = next(run for run in runs.values() if str(run.path) == source.folder)
            assert all(value is not None for value in at(run.path / source.file, source.where)), source


def at(file, where):
    """What stands at the places that a source names."""
    if file.suffix == ".toml":
        return [file.read_text()]
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.suffix == ".jsonl" else []
    if line := re.fullmatch(r"line (\d+)(?:, (.*))?", where):
        record = lines[int(line[1]) - 1]
        return [record[line[2]] if line[2] else record]
    if span := re.fullmatch(r"lines 1 to (\d+)", where):
        return lines if len(lines) == int(span[1]) else [None]
    records = lines or [json.loads(file.read_text())]
    return [reduce(lambda inner, key: inner[key], path.split("."), r) for r in records for path in where.split(", ")]


def test_results_are_the_means_of_what_their_sources_say(runs):
    for table in parts_of(reported(runs), Table):
        if not table.caption.startswith("Results on"):
            continue
        for row in table.rows:
            place = table.columns.index("test error (%)")
            own = [source for source in row.sources if source.where == "test_error" or source.where.startswith("line ")]
            (found,) = zip(*(at(Path(source.folder) / source.file, source.where) for source in own), strict=True)
            errors = [100 - each["test_accuracy"] if isinstance(each, dict) else each for each in found]
            assert row.cells[place].split(" ±")[0] == f"{statistics.fmean(errors):.2f}"


def test_equal_arithmetic_cites_steps_and_what_one_costs(runs):
    (table, *_) = (table for table in parts_of(reported(runs), Table) if "within a common budget" in table.caption)
    cited = {(source.file, source.where) for row in table.rows for source in row.sources}
    assert {("analysis/curves.json", "settings.flops_per_step"), ("metrics.jsonl", "step")} <= cited


def test_charts_are_drawn_as_narrow_as_a_phone_and_say_their_numbers(runs):
    charts = parts_of(reported(runs), Chart)
    assert {chart.title for chart in charts} == {
        "Test accuracy per data set",
        "Memory against test error",
        "Test error over epochs",
        "Training loss of the last window",
        "Accuracy of every block's head",
    }
    for chart in charts:
        with styled():
            figure = drawn(chart)
        assert figure.get_size_inches()[0] == WIDTH and figure.axes[0].get_title("left") == ""
        assert re.search(r"\d", chart.alt) and chart.sources
    bars, memory, _, losses, heads, *_ = charts
    assert "dgl 85.00, backprop 92.50, dgl+man_code, unfinished 75.00; Street View House Numbers: dgl 96.00" in bars.alt
    assert "dgl: 512.0 MiB, 15.00 %; backprop: 1,024.0 MiB, 7.50 %" in memory.alt
    assert "dgl, seed 2: from 2 to 0.6667; backprop: from 2 to 0.5;" in losses.alt
    assert "dgl: from 49.83 to 87.33; backprop: from 88 to 88;" in heads.alt


def test_blocks_are_counted_where_the_recipe_names_the_cuts(tmp_path):
    cuts = {"num_blocks": None, "split_points": ["0", "2", "4"]}
    folder = made_run(tmp_path / "run", "digits", [3.0], partition=cuts)
    described = next(t for t in parts_of(report_of(opened_all([folder])), Table) if t.caption.startswith("Runs on"))
    assert described.rows[0].cells[described.columns.index("blocks")] == "4"


def test_an_empty_run_says_how_to_go_on(tmp_path):
    folder = made_run(tmp_path / "run", "digits", [], finished=False)
    report = report_of(opened_all([folder]))
    assert any(f"locallearn train --resume {folder}" in str(part) for part in report.sections[1].all_parts())
