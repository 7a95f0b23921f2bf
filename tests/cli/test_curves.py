"""The verb: what it prints, draws and refuses."""

from __future__ import annotations

import json
import re

import pytest

from locallearn.cli import main
from locallearn.recipes import checked, dumped, load


def metrics(epoch):
    block = {"role": "local", "loss": 1.0 / epoch, "terms": {}, "accuracy": 10.0 * epoch}
    blocks = [block | {"blocks": [index, index + 1]} for index in range(4)]
    scores = {"train_accuracy": 10.0 * epoch, "validation_accuracy": None, "test_accuracy": 20.0 * epoch}
    return {"epoch": epoch, "step": 23 * epoch, "blocks": blocks, "score": "accuracy", **scores}


@pytest.fixture
def folders(tmp_path):
    for name, epochs in (("short", 2), ("long", 3), ("silent", 0)):
        folder = tmp_path / name
        folder.mkdir()
        tables = load("digits").model_dump() | {"device": "cpu"}
        (folder / "recipe.toml").write_text(dumped(checked(tables, where="a test's recipe")))
        lines = [json.dumps(metrics(epoch + 1)) + "\n" for epoch in range(epochs)]
        (folder / "metrics.jsonl").write_text("".join(lines))
        timings = [{"epoch": epoch + 1, "training_seconds": 2.0, "batches": 23} for epoch in range(epochs)]
        (folder / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timings))
    return tmp_path


def test_unfinished_runs_are_told_drawn_and_kept(folders, figures, capsys):
    words = ["curves", str(folders / "short"), str(folders / "long"), "--json"]
    plots = ["--plot", str(folders / "curves.svg"), "--heads", str(folders / "heads.svg")]
    assert main.main([*words, *plots]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^short +2 +46 .* 60\.00 % +20\.0 20\.0 20\.0 20\.0$", told, flags=re.MULTILINE)
    found = json.loads(told.splitlines()[-1])["runs"]
    assert found["long"]["test_error"] == [80, 60, 40] and found["long"]["seconds"] == [2, 4, 6]
    assert found["long"]["flops"][2] == 3 * found["long"]["flops"][0] > 0
    kept = json.loads((folders / "long" / "analysis" / "curves.json").read_text())
    assert kept["steps"] == [23, 46, 69]
    drawing = (folders / "curves.svg").read_text()
    for words in ("loss of the last window", "test error (%)", "floating-point operations (", "seconds of", "long"):
        assert words in drawing
    by_epochs, by_flops, by_seconds = figures["curves.svg"].axes[3:]
    unit = {"floating-point operations (MFLOP)": 1e6, "floating-point operations (GFLOP)": 1e9}[by_flops.get_xlabel()]
    assert by_flops.lines[1].get_xdata() == pytest.approx([flops / unit for flops in found["long"]["flops"]])
    # A dotted line where the shorter run ends.
    ends = [2, found["short"]["flops"][1] / unit, 4]
    assert [axes.lines[2].get_xdata()[0] for axes in (by_epochs, by_flops, by_seconds)] == pytest.approx(ends)
    assert "accuracy" in (folders / "heads.svg").read_text()


def test_runs_without_an_epoch_and_charts_that_exist_are_refused(folders, capsys):
    assert main.main(["curves", str(folders / "long"), str(folders / "silent")]) == 2
    assert "No epoch has ended yet in" in capsys.readouterr().err
    (folders / "there.svg").touch()
    assert main.main(["curves", str(folders / "long"), "--heads", str(folders / "there.svg")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main.main(["curves"]) == 2
