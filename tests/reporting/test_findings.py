"""What analyses left beside runs, and what is missing."""

from __future__ import annotations

import pytest

from locallearn.analysis import opened_all
from locallearn.reporting.document import Chart, Gap, Table
from locallearn.reporting.findings import findings
from locallearn.reporting.subjects import chapters
from reporting.made_runs import found, made_run


@pytest.fixture
def folders(tmp_path):
    names = {"one": ("dgl", 0), "two": ("dgl", 1), "backprop": ("backprop", 0)}
    return {
        name: made_run(tmp_path / name, "digits", [3.0], seed=seed, method={"name": method})
        for name, (method, seed) in names.items()
    }


def sections(folders):
    (chapter,) = chapters(opened_all(list(folders.values())))
    return {section.title: section for section in findings(chapter).sections}


def test_what_nobody_looked_at_says_what_to_run(folders):
    told = [part for section in sections(folders).values() for part in section.parts]
    assert all(isinstance(part, Gap) and part.what == "Not looked at" for part in told) and len(told) == 4
    commands = [command for gap in told for command in gap.commands]
    assert f"locallearn probe {folders['one']}" in commands
    assert f"locallearn similarity {folders['backprop']} {folders['one']}" in commands
    assert {command.split()[1] for command in commands} == {"probe", "similarity", "exits", "agreement"}


def test_probes_of_seeds_are_joined_and_gaps_named(folders):
    found(folders["one"], "probe", accuracy=[40.0, 60.0], deviation=[1.0, 1.0])
    found(folders["two"], "probe", accuracy=[50.0, 64.0], deviation=[1.0, 1.0])
    chart, table, gap = sections(folders)["Linear separability of features"].parts
    assert isinstance(chart, Chart) and isinstance(table, Table) and isinstance(gap, Gap)
    assert table.rows[0].cells == ("dgl", "45", "45", "45", "62", "62", "53.5")
    assert chart.draw.keywords["spreads"] == {"dgl": pytest.approx([50**0.5, 8**0.5])}
    assert gap.commands == (f"locallearn probe {folders['backprop']}",)
    assert [source.folder for source in table.rows[0].sources] == [str(folders["one"]), str(folders["two"])]
    assert "dgl: block 1 45" in chart.alt


def test_exits_show_the_head_of_the_ensemble(folders):
    exits = [
        {"block": 1, "accuracy": None, "ensemble_macs": None},
        {"block": 2, "accuracy": 10.0, "ensemble_macs": None},
        {"block": 2, "accuracy": 70.0, "ensemble_macs": 5},
    ]
    found(folders["one"], "exits", exits=exits)
    chart, table, _ = sections(folders)["Stopping after a block"].parts
    assert table.rows[0].cells[1] == "missing" and table.rows[0].cells[5] == "70"
    assert chart.draw.args[0] == {"dgl": [None, 70.0]}


def test_agreement_is_the_last_checkpoint_s(folders):
    found(folders["one"], "agreement", steps=[1, 2], mean=[[0.9, 1.0], [0.4, 1.0]], deviation=[[0.1, 0.0], [0.2, None]])
    chart, table, _ = sections(folders)["Agreement with back-propagation's gradients"].parts
    assert table.rows[0].cells[1] == "0.4" and chart.draw.keywords["spreads"] == {"dgl": [0.2, 0.0]}


def test_similarities_have_a_section_for_each_reference(folders):
    for reference in ("backprop", "ref"):
        found(folders["one"], f"similarity-with-{reference}", curve=[0.9, 0.5], mean=0.7, matrix=[[1]])
    titles = [title for title in sections(folders) if "Similarity" in title]
    assert titles == [f"Similarity of features to those of {name} (CKA)" for name in ("backprop", "ref")]
    found(folders["one"], "transfer-stl10", mapped_by="file", mapped_accuracy=31.0, raw_accuracy=9.0, images=8000)
    assert sections(folders)["Other data"].parts[0].rows[0].cells == ("dgl, seed 0", "stl10", "file", "31", "9", "8000")


def test_files_of_another_version_are_told_and_the_others_shown(folders):
    found(folders["one"], "probe", acc=[40.0])
    found(folders["two"], "probe", accuracy=[50.0, 64.0])
    found(folders["backprop"], "agreement", mean=[], deviation=[])
    found(folders["one"], "similarity-with-backprop", curves=[0.5])
    shown = sections(folders)
    _, table, damaged, lacking = shown["Linear separability of features"].parts
    assert table.rows[0].cells[1] == "50" and damaged.commands == (f"locallearn probe {folders['one']}",)
    assert lacking.commands == (f"locallearn probe {folders['backprop']}",)
    first, _ = shown["Agreement with back-propagation's gradients"].parts
    assert "agreement.json lacks" in first.what
    (gap,) = shown["Similarity of features to those of backprop (CKA)"].parts
    assert gap.commands == (f"locallearn similarity backprop {folders['one']}",)
