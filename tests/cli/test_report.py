"""The verb: what it writes and refuses."""

from __future__ import annotations

import json

import pytest

from locallearn.cli import main
from reporting.made_runs import found, made_run


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [
        made_run(tmp_path / "runs" / name, "digits", [9.0, 5.0], method={"name": name}) for name in ("dgl", "predsim")
    ]
    for folder in made:
        found(folder, "curves", settings={"flops_per_step": 10**9})
    return [f"runs/{folder.name}" for folder in made]


def test_a_page_and_json(folders, tmp_path, capsys):
    twin = made_run(tmp_path / "runs" / "twin", "digits", [9.0, 7.0], method={"name": "dgl"}, seed=1)
    found(twin, "curves", settings={"flops_per_step": 10**9})
    folders.append("runs/twin")
    assert (
        main.main(["report", *folders, "--out", "page.html", "--against", "paper", "--title", "Two & two", "--json"])
        == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["report"] == "page.html" and [row["value"] for row in told["rows"]] == [6.0, 5.0]
    assert [row["deviation"] for row in told["rows"]] == [pytest.approx(2**0.5), None]
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Two &amp; two</h1>" in page and "equal FLOPs" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "runs"]


def test_markdown_has_its_charts_beside_it(folders, tmp_path):
    (tmp_path / "page-files").mkdir()
    for name in ("chart-99.svg", "mine.svg"):
        (tmp_path / "page-files" / name).write_text("older")
    assert main.main(["report", *folders, "--out", "page.md", "--overwrite"]) == 0
    (tmp_path / "page-files" / "mine.svg").unlink()
    files = sorted(path.name for path in (tmp_path / "page-files").iterdir())
    assert files == [f"chart-{number}.svg" for number in range(1, 6)]
    assert all(f"page-files/{name}" in (tmp_path / "page.md").read_text() for name in files)


def test_operations_are_counted_once_and_kept(folders, tmp_path, monkeypatch):
    kept = tmp_path / folders[0] / "analysis" / "curves.json"
    kept.unlink()
    counted = []
    monkeypatch.setattr("locallearn.analysis.curves.flops_per_step", lambda run: counted.append(run.name) or 10**6)
    assert main.main(["report", *folders, "--out", "a.html"]) == main.main(["report", *folders, "--out", "b.html"]) == 0
    assert counted == ["dgl"] and json.loads(kept.read_text())["settings"] == {"flops_per_step": 10**6}
    assert "equal FLOPs: 20 MFLOP" in (tmp_path / "a.html").read_text()


def test_nothing_is_replaced_unless_asked(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("locallearn.reporting.html_page", lambda report: "ours")
    (tmp_path / "page.html").write_text("mine")
    assert main.main(["report", *folders, "--out", "page.html"]) == 2
    assert "--overwrite" in capsys.readouterr().err and (tmp_path / "page.html").read_text() == "mine"
    assert main.main(["report", *folders, "--out", "page.html", "--overwrite"]) == 0
    assert (tmp_path / "page.html").read_text() == "ours"
    (tmp_path / "other-files").mkdir()
    assert main.main(["report", *folders, "--out", "other.md"]) == 2
    assert "other-files" in capsys.readouterr().err and not (tmp_path / "other.md").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/dgl", "runs", "--out", "page.html"], "'runs' holds no run"),
        (["runs/dgl", "runs/dgl", "--out", "page.html"], "named twice"),
        (["runs/dgl", "--out", "page.pdf"], "must end in .html or .md"),
        (["runs/dgl", "--out", "nowhere/page.html"], "does not exist"),
        (["--out", "page.html"], "at least one run"),
        (["runs/dgl", "--out", "page.html", "--against", "me"], "--against"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(folders, tmp_path, capsys, words, said):
    before = sorted(tmp_path.rglob("*"))
    assert main.main(["report", *words]) == 2
    assert said in capsys.readouterr().err and sorted(tmp_path.rglob("*")) == before
