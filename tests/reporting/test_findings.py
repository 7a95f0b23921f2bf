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
    chart, table, note, gap = sections(folders)["Linear separability of features"].parts
    assert isinstance(chart, Chart) and isinstance(table, Table) and isinstance(gap, Gap)
    assert table.columns == ("run", "block 1", "block 2", "mean")
    assert table.rows[0].cells == ("dgl", "45 ± 7.1", "62 ± 2.8", "53.5")
    assert note.text == "± is the deviation over seeds."
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
    chart, table, *_ = sections(folders)["Stopping after a block"].parts
    assert table.rows[0].cells == ("dgl", "missing", "70", "70")
    assert chart.draw.args[0] == {"dgl": [None, 70.0]}
    found(folders["two"], "exits", exits=[*exits, {"block": 3, "accuracy": 80.0, "ensemble_macs": 9}])
    chart, table, *_ = sections(folders)["Stopping after a block"].parts
    assert chart.draw.args[0] == {"dgl": [None, 70.0, 80.0]} and table.rows[0].cells[-2:] == ("80", "75")


def test_agreement_is_the_last_checkpoint_s(folders):
    found(
        folders["one"], "agreement", steps=[1, 10], mean=[[0.9, 1.0], [0.4, 1.0]], deviation=[[0.1, 0.0], [0.2, None]]
    )
    chart, table, note, _ = sections(folders)["Agreement with back-propagation's gradients"].parts
    assert table.columns[-1] == "mean but the last" and table.rows[0].cells == ("dgl", "0.4 ± 0.2", "1", "0.4")
    assert chart.draw.keywords["spreads"] == {"dgl": [0.2, None]} and "over batches" in note.text


def test_what_was_looked_at_before_the_end_is_no_finding(folders):
    found(folders["one"], "agreement", steps=[1, 5], mean=[[0.9, 1.0], [0.4, 1.0]], deviation=[[0, 0], [0, 0]])
    found(folders["one"], "exits", exits=[{"block": 1, "accuracy": 1.0, "ensemble_macs": 3}], settings={"step": 5})
    for title, verb in (
        ("Agreement with back-propagation's gradients", "agreement"),
        ("Stopping after a block", "exits"),
    ):
        older, _ = sections(folders)[title].parts
        assert "older than the end" in older.what and older.commands == (f"locallearn {verb} {folders['one']}",)


def test_settings_that_differ_are_told(folders):
    probed = {"accuracy": [50.0, 60.0], "deviation": [1.0, 2.0]}
    found(folders["one"], "probe", settings={"test_images": 50, "seeds": [0]}, **probed)
    found(folders["backprop"], "probe", settings={"test_images": 50, "seeds": [0]}, **probed)
    note = sections(folders)["Linear separability of features"].parts[2]
    assert note.text == ("Looked at with test images 50, seeds [0]. ± is the deviation over draws of training images.")
    found(folders["backprop"], "probe", settings={"test_images": 360, "seeds": [0]}, **probed)
    note = sections(folders)["Linear separability of features"].parts[2]
    told = "dgl: test images 50, seeds [0]; backprop: test images 360, seeds [0]."
    assert note.text.startswith(f"Looked at differently, so compare with care: {told}")


def test_similarities_have_a_section_for_each_reference(folders, monkeypatch):
    monkeypatch.chdir(folders["one"].parent)
    other = made_run(folders["one"].parent / "other", "digits", [3.0], seed=1, method={"name": "backprop"})
    for name, reference, curve in (("one", "backprop", [0.9, 0.5]), ("two", "other", [0.7, 0.3])):
        settings = {"reference": f"../{reference}"}
        found(folders[name], f"similarity-with-{reference}", curve=curve, mean=0.7, settings=settings)
    # The same name, another setting that is no longer there: it is another reference.
    found(folders["two"], "similarity-with-backprop", curve=[0.1, 0.2], settings={"reference": "../gone/backprop"})
    shown = sections(folders)
    titles = [title for title in shown if "Similarity" in title]
    assert titles == [f"Similarity of features to those of {name} (CKA)" for name in ("backprop", "gone/backprop")]
    seeds, single = shown[titles[0]].parts[1], shown[titles[1]].parts
    assert [row.cells for row in seeds.rows] == [("dgl", "0.8 ± 0.14", "0.4 ± 0.14", "0.6")]
    assert len(shown[titles[0]].parts) == 3 and [row.cells[-1] for row in single[1].rows] == ["0.15"]
    assert single[-1].commands == (
        f"locallearn similarity gone/backprop {folders['one']}",
        f"locallearn similarity gone/backprop {folders['backprop']}",
    )
    (folders["two"] / "analysis" / "similarity-with-other.json").unlink()
    gap = sections(folders)[titles[0]].parts[-1]
    assert gap.commands == (f"locallearn similarity backprop {folders['two']}",) and other.is_dir()


def test_other_data(folders):
    found(folders["one"], "transfer-stl10", mapped_by="file", mapped_accuracy=31.0, raw_accuracy=9.0, images=8000)
    assert sections(folders)["Other data"].parts[0].rows[0].cells == ("dgl, seed 0", "stl10", "file", "31", "9", "8000")


def test_files_of_another_version_are_told_and_the_others_shown(folders):
    found(folders["one"], "probe", acc=[40.0])
    found(folders["two"], "probe", accuracy=[50.0, 64.0])
    found(folders["backprop"], "agreement", mean=[], deviation=[])
    found(folders["one"], "similarity-with-backprop", curves=[0.5])
    shown = sections(folders)
    _, table, _, damaged, lacking = shown["Linear separability of features"].parts
    assert table.rows[0].cells[1] == "50" and damaged.commands == (f"locallearn probe {folders['one']}",)
    assert lacking.commands == (f"locallearn probe {folders['backprop']}",)
    first, _ = shown["Agreement with back-propagation's gradients"].parts
    assert "lack what is shown" in first.what
    damaged, lacking = shown["Similarity of features to those of ? (CKA)"].parts
    assert damaged.commands == (f"locallearn similarity REFERENCE {folders['one']}",)
    assert f"locallearn similarity REFERENCE {folders['two']}" in lacking.commands
