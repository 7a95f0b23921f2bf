"""What the documents say of analyses follows from the numbers."""

from __future__ import annotations

import pytest
from benchmarks import analyses_tables as tables
from benchmarks import figures

BLOCKS = 12


def row(name, early, late, likeness, cosines):
    accuracy = [early] * 5 + [50.0] + [late] * 5 + [99.0]
    assert len(accuracy) == BLOCKS
    return {
        "name": name, "num_blocks": BLOCKS, "steps": 9, "batch_size": 2, "epochs": 1, "precision": "fp32",
        "test_accuracy": 12.345, "probe": {"accuracy": accuracy, "deviation": [0.1] * BLOCKS},
        "similarity-with-backprop": {"curve": [likeness] * BLOCKS, "mean": likeness},
        "exits": {"exits": [{"ensemble_macs": None}, {"accuracy": 50.0, "macs": 2e6, "ensemble_macs": 3e6}]},
        "agreement": {"steps": [0, 9], "mean": [[0.9, None, 1.0], cosines]},
    }  # fmt: skip


@pytest.fixture
def given(monkeypatch):
    rows = [
        row("dgl", 40.0, 60.0, 0.5, [0.2, 0.4, 1.0]),
        row("dgl+man", 39.0, 61.0, 0.6, [0.5, None, 1.0]),
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
    assert "39.0 % against `dgl`'s 40.0 %" in man and man.endswith("61.0 % against 60.0 %: both are seen.")
    assert mlaan.endswith("the second is seen.") and auglocal.endswith("neither is seen.")
    given[2]["probe"]["accuracy"][:5], given[2]["probe"]["accuracy"][6:11] = [1.0] * 5, [1.0] * 5
    assert tables.separability().splitlines()[1].endswith("the first is seen.")


def test_likeness_rises_or_does_not(given):
    rises = [line.rpartition(": ")[2] for line in tables.likeness().splitlines()]
    assert rises == ["it rises.", "it does not rise.", "it does not rise."]


def test_inner_blocks_are_ordered_without_the_last(given):
    assert tables.foresight().endswith("`dgl+man` 0.500, `dgl` 0.300, `auglocal` 0.300, `mlaan` 0.100.")
    cells = [cell.strip() for cell in tables.runs().splitlines()[4].strip("|").split("|")]
    assert cells == ["`dgl`", "12.35", "40.0", "60.0", "0.500", "0.900", "0.300"]


def test_figures_are_drawn_of_what_is_there(given):
    given[1]["probe"] = None
    lines = {
        name: [text.get_text() for text in draw().legends[0].get_texts()] for name, draw in figures.FIGURES.items()
    }
    assert lines["probe"] == ["dgl", "mlaan", "auglocal"]
    assert all(names == ["dgl", "dgl+man", "mlaan", "auglocal"] for name, names in lines.items() if name != "probe")


def test_nothing_is_said_of_nothing(monkeypatch):
    monkeypatch.setattr(tables, "measured", lambda name: [])
    said = {tables.runs(), tables.separability(), tables.likeness(), tables.foresight()}
    assert said == {"Not measured yet."}
