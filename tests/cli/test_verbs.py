"""The verbs that only look: ls, show, check-data; and what evaluate, export and compare refuse before they start."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from locallearn.cli.compare import resolve as resolve_comparison
from locallearn.cli.main import main
from locallearn.datasets.registry import SPECS
from locallearn.errors import InputError
from locallearn.methods import METHODS, PRESETS
from locallearn.networks import names as network_names
from locallearn.recipes import checked, load, names, published, save


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("methods", [*METHODS, *PRESETS]), ("networks", network_names()), ("datasets", SPECS), ("recipes", names())],
)
def test_ls_names_everything_with_a_line_on_each(kind: str, expected, capsys: pytest.CaptureFixture[str]):
    assert main(["ls", kind, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])[kind]
    assert [row["name"] for row in rows] == list(expected)
    assert all(row["description"] and "\n" not in row["description"] for row in rows)


@pytest.mark.parametrize("form", ["csv", "latex", "table"])
def test_ls_in_every_format(form: str, capsys: pytest.CaptureFixture[str]):
    assert main(["ls", "recipes", "--format", form]) == 0
    assert "digits" in capsys.readouterr().out


def test_ls_recipes_alone_counts_them_by_data_set_and_network(capsys: pytest.CaptureFixture[str]):
    assert main(["ls", "recipes"]) == 0
    shown = capsys.readouterr().out.splitlines()
    groups = {"_".join(name.split("_")[:2]) for name in published.names()} | {"digits"}
    assert len(shown) < len(groups) + 8 and "ls recipes WORD" in shown[-1]
    assert all(any(group in line.split() for line in shown) for group in groups)
    expected = sum(name.startswith("stl10_resnet32_") for name in names())
    assert any("stl10_resnet32" in line and f"STL-10, ResNet-32: {expected} recipes" in line for line in shown)


def test_ls_of_what_there_is_not(capsys: pytest.CaptureFixture[str]):
    assert main(["ls", "method"]) == 2
    assert "'methods'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["svhn", "k55", "+man"], ["_k55_dgl+man", "svhn"]])
def test_ls_keeps_the_names_that_hold_every_word(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["ls", "recipes", *words, "--json"]) == 0
    found = [row["name"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["recipes"]]
    assert found == [name for name in names() if all(word in name for word in words)]
    assert "svhn_resnet110_k55_dgl+man" in found and len(found) < 20


def test_ls_of_a_word_that_no_name_holds(capsys: pytest.CaptureFixture[str]):
    assert main(["ls", "recipes", "svhn", "resnet34"]) == 2
    shown = capsys.readouterr()
    assert "None of the" in shown.err and "'svhn' and 'resnet34'" in shown.err and not shown.out


def test_show_sets_contradicting_numbers_side_by_side(capsys: pytest.CaptureFixture[str]):
    assert main(["show", "cifar10_resnet32_k16_dgl+mlaan"]) == 0
    shown = capsys.readouterr().out
    assert "test_error = 6.36 +- 0.15 %, mean of 3 runs (MLAAN, Table 1; Table 4); also printed: 6.80" in shown
    assert "test_error = 6.80 % (MLAAN, text" in shown and "# Seeds: 3;" in shown


@pytest.mark.parametrize(
    "name",
    ["digits", "cifar10_resnet32_k16_dgl", "svhn_resnet110_k55_dgl+mlaan", "cifar10_resnet32_k8_infopro+man_m0.99"],
)
def test_show_prints_a_recipe_that_reads_back(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["show", name, "--json"]) == 0
    *toml, last = capsys.readouterr().out.splitlines()
    assert checked(tomllib.loads("\n".join(toml)), where="shown") == load(name)
    assert checked(json.loads(last), where="json") == load(name)
    assert all(sentence in "\n".join(toml) for sentence in load(name).guessed)


def test_check_data_reports_what_is_there(capsys: pytest.CaptureFixture[str]):
    assert main(["check-data", "digits", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["ok"] and report["counts"] == {"train": 1437, "test": 360}


def test_check_data_names_no_folder_for_generated_images(capsys: pytest.CaptureFixture[str]):
    assert main(["check-data", "shapes", "--json"]) == 0
    told, *_, last = capsys.readouterr().out.splitlines()
    assert told == "shapes: samples that are generated in the package" and json.loads(last)["root"] is None


def test_check_data_fails_on_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check-data", "cifar10", "--data", str(tmp_path), "--json"]) == 2
    shown = capsys.readouterr()
    assert str(tmp_path) in shown.err and not json.loads(shown.out.splitlines()[-1])["ok"]
    assert main(["check-data", "cifar11"]) == 2
    assert "cifar10" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_a_folder_without_a_finished_run_is_refused(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flags = ["--out", str(tmp_path / "network")] if verb == "export" else []
    assert main([verb, str(tmp_path), *flags]) == 2
    assert "holds no run" in capsys.readouterr().err
    save(load("digits"), tmp_path / "recipe.toml")
    assert main([verb, str(tmp_path), *flags]) == 2
    assert f"--resume {tmp_path}" in capsys.readouterr().err
    several = load("digits").model_copy(update={"seeds": 2})
    save(several, tmp_path / "recipe.toml")
    assert main([verb, str(tmp_path), *flags]) == 2
    assert "seed0" in capsys.readouterr().err


def test_compare_makes_a_recipe_for_each_method():
    argv = ["cifar10_resnet110_infopro", "--methods", "backprop", "infopro", "--training.epochs", "2"]
    options, recipes = resolve_comparison(argv)
    assert options.methods == ("backprop", "infopro")
    assert [recipe.method.name for recipe in recipes] == ["backprop", "infopro"]
    assert recipes[1].method.options["reconstruction"] == (5.0, 0.5)
    assert {recipe.training.epochs for recipe in recipes} == {2}


@pytest.mark.parametrize(
    ("methods", "words"),
    [(["dgl", "dgl"], "different methods"), ([], "at least one"), (["dgl", "dlg"], "Did you mean 'dgl'?")],
)
def test_compare_refuses_methods(methods: list[str], words: str):
    with pytest.raises(InputError) as caught:
        resolve_comparison(["--methods", *methods])
    assert words in str(caught.value)
