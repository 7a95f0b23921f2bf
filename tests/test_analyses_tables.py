"""What the documents say of analyses follows from the numbers."""

from __future__ import annotations

import pytest
from benchmarks import analyses_tables as tables
from benchmarks import figures

from locallearn.plotting.figure_file import styled

BLOCKS = 12


def row(name, early, late, likeness, cosines, *, seed=0, accuracy=12.345):
    probed = [early] * 5 + [50.0] + [late] * 5 + [99.0]
    assert len(probed) == BLOCKS
    return {
        "name": name, "seed": seed, "num_blocks": BLOCKS, "steps": 9, "batch_size": 2, "epochs": 1, "precision": "fp32",
        "test_accuracy": accuracy, "probe": {"accuracy": probed, "deviation": [0.1] * BLOCKS},
        "similarity-with-backprop": {"curve": [likeness] * BLOCKS, "mean": likeness},
        "exits": {"exits": [{"ensemble_macs": None}, {"accuracy": 50.0, "macs": 2e6, "ensemble_macs": 3e6}]},
        "agreement": {"steps": [0, 9], "mean": [[0.9, None, 1.0], cosines]},
    }  # fmt: skip


@pytest.fixture
def given(monkeypatch):
    rows = [
        row("dgl", 40.0, 60.0, 0.5, [0.2, 0.4, 1.0]),
        row("dgl+man", 39.0, 61.0, 0.6, [0.5, None, 1.0]),
        row("dgl+man-bias", 39.0, 61.0, 0.7, [0.5, None, 1.0]),
        row("mlaan", 41.0, 61.0, 0.4, [0.1, 0.1, 1.0]),
        row("auglocal", 41.0, 59.0, 0.5, [0.3, 0.3, 1.0]),
    ]
    found = {"rows": rows, "versions": {"torch": "9"}, "commit": "abc"}
    for module in (tables, figures):
        monkeypatch.setattr(module, "result", lambda name: found)
    monkeypatch.setattr(tables, "measured", lambda name: [name])
    return rows


def test_claims_are_seen_where_numbers_show_them(given):
    man, mlaan, auglocal = tables.separability().splitlines()
    assert man == (
        "- MAN: early ones less: seen (blocks 1 to 5 39.0 % against `dgl`'s 40.0 %). Later ones more: seen (the last "
        "five before the logits 61.0 % against 60.0 %)."
    )
    assert "less: not seen" in mlaan and "more: seen" in mlaan
    assert "less: not seen" in auglocal and "more: not seen" in auglocal


def test_likeness_rises_or_does_not(given):
    assert [line.split(" (")[0] for line in tables.likeness().splitlines()] == [
        "- MAN: seen",
        "- MAN's bias alone: seen",
        "- MLAAN: not seen",
        "- AugLocal: not seen",
    ]


def test_inner_blocks_are_ordered_without_the_last(given):
    assert tables.foresight().endswith("`dgl+man-bias` 0.500, `dgl` 0.300, `auglocal` 0.300, `mlaan` 0.100.")
    assert "`dgl+man` 0.500" in tables.foresight()
    cells = [cell.strip() for cell in tables.runs().splitlines()[4].strip("|").split("|")]
    assert cells == ["`dgl`", "1", "12.35", "40.0", "60.0", "0.500", "0.900", "0.300"]


def test_seeds_are_held_beside_the_same_seed_and_joined(given):
    given.append(row("dgl", 30.0, 70.0, 0.3, [0.0, 0.2, 1.0], seed=1, accuracy=14.345))
    given.append(row("dgl+man", 31.0, 71.0, 0.4, [0.3, None, 1.0], seed=1))
    man, mlaan, _ = tables.separability().splitlines()
    assert "early ones less: seen with 1 of 2 seeds (blocks 1 to 5 35.0 % against `dgl`'s 35.0 %)" in man
    assert "more: seen (the last five before the logits 66.0 % against 65.0 %)" in man
    assert "61.0 % against 60.0 %" in mlaan
    assert (
        "seen (mean CKA 0.500 against `dgl`'s 0.400; blocks 1 to 5 0.500 against 0.400, the"
        in tables.likeness().splitlines()[0]
    )
    cells = [cell.strip() for cell in tables.runs().splitlines()[4].strip("|").split("|")]
    assert cells == ["`dgl`", "2", "13.35 ± 1.41", "35.0 ± 7.1", "65.0 ± 7.1", "0.400 ± 0.141", "0.900 ± 0.000",
                     "0.200 ± 0.141"]  # fmt: skip
    with styled():
        lines = {line.get_label(): line for line in figures.similarity().axes[0].containers}
        whole = figures.agreement_over_training().axes[0].lines
    assert lines["dgl"].has_yerr and not lines["mlaan"].has_yerr
    assert lines["dgl"].lines[0].get_ydata()[0] == pytest.approx(0.4)
    assert whole[0].get_ydata().tolist() == pytest.approx([0.9, 0.2])


def test_figures_are_drawn_of_what_is_there(given):
    given[1]["probe"] = None
    lines = {
        name: [text.get_text() for text in draw().legends[0].get_texts()] for name, draw in figures.FIGURES.items()
    }
    assert lines["probe"] == ["dgl", "dgl+man-bias", "mlaan", "auglocal"]
    assert all(
        names == ["dgl", "dgl+man", "dgl+man-bias", "mlaan", "auglocal"]
        for name, names in lines.items()
        if name != "probe"
    )


def test_nothing_is_said_of_nothing(monkeypatch):
    monkeypatch.setattr(tables, "measured", lambda name: [])
    said = {tables.runs(), tables.separability(), tables.likeness(), tables.foresight()}
    assert said == {"Not measured yet."}
