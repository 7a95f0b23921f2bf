"""Pictures that verbs are asked for: refused before any run is opened, replaced only if asked."""

from __future__ import annotations

import pytest

from locallearn.cli import main
from locallearn.cli.pictures import check_picture
from locallearn.errors import InputError

FLAGS = [
    ("probe", "--plot"),
    ("similarity", "--plot"),
    ("similarity", "--heatmap"),
    ("exits", "--plot"),
    ("agreement", "--plot"),
    ("agreement", "--plot-steps"),
    ("features", "--plot"),
    ("curves", "--plot"),
    ("curves", "--heads"),
    ("profile", "--plot"),
    ("profile", "--times"),
]


@pytest.mark.parametrize(("verb", "flag"), FLAGS)
def test_every_verb_refuses_what_it_could_not_write_before_it_opens_runs(verb, flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.svg").write_text("mine")
    (tmp_path / "folder.svg").mkdir()
    for name, said in (
        ("there.svg", "'there.svg' exists: choose another --"),
        ("folder.svg", "'folder.svg' is a folder"),
        ("none/chart.svg", "There is no folder 'none'"),
        ("there.svg/chart.svg", "There is no folder 'there.svg'"),
        ("chart.gif", "must end in .png, .svg or .pdf"),
    ):
        assert main.main([verb, "no-run", flag, name, "--device", "cpu"][: 4 if verb == "curves" else None]) == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "there.svg").read_text() == "mine"
    words = [verb, "no-run", flag, "there.svg", "--overwrite"]
    assert main.main(words) == 2
    assert "holds no run" in capsys.readouterr().err


def test_endings_may_be_capitals_and_folders_are_never_replaced(tmp_path):
    check_picture("--plot", tmp_path / "CHART.SVG", overwrite=False)
    check_picture("--plot", None, overwrite=False)
    (tmp_path / "chart.svg").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_picture("--plot", tmp_path / "chart.svg", overwrite=True)
