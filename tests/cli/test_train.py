"""Where a run goes, and what may be resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from locallearn.cli.main import main
from locallearn.cli.runs import new_folder
from locallearn.cli.train import resolve
from locallearn.errors import InputError
from locallearn.recipes import load, save


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as a started run leaves it."""
    folder = tmp_path / "started"
    folder.mkdir()
    save(resolve(["digits", "--training.epochs", "3"])[1], folder / "recipe.toml")
    return folder


def test_new_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    recipe = load("digits")
    expected = ["digits-dgl-seed0", "digits-dgl-seed0-2", "digits-dgl-seed0-3"]
    for name in expected:
        folder = new_folder(None, "some/where/digits.toml", recipe)
        assert folder == Path("runs") / name and not folder.exists()
        folder.mkdir(parents=True)


def test_a_folder_with_something_in_it_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--out", str(run)]) == 2
    assert f"--resume {run}" in capsys.readouterr().err
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        assert main(["train", "--out", str(path)]) == 2
        assert "choose another --out" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "recipe.toml", "started"]


def test_resuming_takes_the_stored_recipe(run: Path):
    for argv in (["--resume", str(run)], ["--out", str(run), "--resume"], ["--resume", "--out", str(run)]):
        options, recipe = resolve(argv)
        assert options.resume == run and recipe == load(run / "recipe.toml")
    assert resolve(["--resume", str(run), "--training.epochs", "3", "--json"])[0].json


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--training.epochs", "4"], "training.epochs is 4, but the run there has 3."),
        (["--method", "predsim"], "method.name is 'predsim', but the run there has 'dgl'."),
        (["--training.clip-norm", "1"], "training.clip_norm is 1.0, but the run there has None."),
        (["--out", "elsewhere"], "leave --out elsewhere out"),
    ],
)
def test_resuming_with_other_settings_is_refused(flags: list[str], words: str, run: Path):
    with pytest.raises(InputError) as caught:
        resolve(["--resume", str(run), *flags])
    assert words in str(caught.value)


def test_resuming_by_another_recipe_is_refused(run: Path):
    with pytest.raises(InputError, match=r"network\.name is 'resnet32', but the run there has 'resnet20'"):
        resolve(["cifar10_resnet32_dgl", "--resume", str(run)])
    assert resolve(["digits", "--training.epochs", "3", "--resume", str(run)])[0].resume == run


@pytest.mark.parametrize("argv", [["--resume"], ["--resume", "--json"]])
def test_resuming_needs_a_folder(argv: list[str]):
    with pytest.raises(InputError, match="--resume needs the folder of a run"):
        resolve(argv)


def test_falling_back_is_for_resuming(run: Path):
    with pytest.raises(InputError, match="--fall-back is for --resume"):
        resolve(["--fall-back"])
    assert resolve(["--resume", str(run), "--fall-back"])[0].fall_back
    assert not resolve(["--resume", str(run)])[0].fall_back


def test_resuming_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"recipe\.toml is missing"):
        resolve(["--resume", str(tmp_path)])


def test_a_stored_recipe_that_was_changed_by_hand_is_checked(run: Path):
    path = run / "recipe.toml"
    path.write_text(path.read_text().replace("epochs = 3", "epochs = -3"))
    with pytest.raises(InputError, match=r"training\.epochs = -3"):
        resolve(["--resume", str(run)])
