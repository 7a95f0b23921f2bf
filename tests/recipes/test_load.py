"""Recipes from and to TOML, and the ones that come with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from locallearn.errors import InputError
from locallearn.recipes import checked, dumped, load, names, read, save, summary

SOME = ("digits", "cifar10_resnet32_k16_dgl", "svhn_resnet110_k55_dgl+mlaan", "stl10_resnet110_k3_infopro_balanced")


@pytest.mark.parametrize("name", SOME)
def test_a_saved_recipe_reads_back_equal(name: str, tmp_path: Path):
    recipe = load(name)
    save(recipe, tmp_path / "recipe.toml")
    assert load(tmp_path / "recipe.toml") == recipe
    assert checked(tomllib.loads(dumped(recipe)), where="dumped") == recipe


def test_every_recipe_of_the_package_reads_back_equal():
    for name in names():
        recipe = load(name)
        assert checked(tomllib.loads(dumped(recipe)), where="dumped") == recipe, name


def test_summaries_are_titles_with_the_first_error():
    assert summary("digits") == load("digits").title
    assert summary("cifar10_resnet32_k16_dgl+man") == load("cifar10_resnet32_k16_dgl+man").title + ": 9.11 %"
    assert summary("cifar10_resnet110_k55_auglocal_d5_t1").endswith("tau=1: 0.79 GFLOP")


def test_settings_that_are_not_defaults_survive_saving(tmp_path: Path):
    recipe = load("digits").model_dump() | {"data": "/some/where", "seed": 7, "guessed": ["a", 'b "quoted" \\ \n']}
    recipe["training"] |= {"clip_norm": 0.5, "betas": [0.5, 0.75], "schedule": {"name": "step", "milestones": [1, 2]}}
    recipe["partition"] = {"split_points": ["layer1.0", "layer2"]}
    recipe["network"] |= {"options": {"in_channels": 3, "width": 0.5, "bias": False, "norm": "batch"}}
    whole = checked(recipe, where="test")
    save(whole, tmp_path / "recipe.toml")
    assert load(tmp_path / "recipe.toml") == whole
    assert whole.data == Path("/some/where")


def test_the_default_recipe_is_local_and_needs_no_files():
    recipe = load("digits")
    assert recipe.dataset.name == "digits" and recipe.method.name == "dgl" and recipe.network.name == "resnet20"
    assert recipe.partition.num_blocks is not None and recipe.partition.num_blocks >= 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("digit", "Did you mean 'digits'"),
        ("cifar10_resnet32_k16_dlg", "Did you mean 'cifar10_resnet32_k16_dgl'"),
        ("nowhere.toml", "There is no file 'nowhere.toml'"),
        ("/", "There is no recipe '/'"),
    ],
)
def test_unknown_recipes_are_refused_with_the_known_ones(given: str, words: str):
    with pytest.raises(InputError, match=words) as caught:
        load(given)
    assert "digits" in str(caught.value) and "locallearn ls recipes" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"title = \n", r"is not TOML.*line 1"),
        (b"[training]\nlr = 0.1\nlr = 0.2\n", r"is not TOML.*line 3"),
        (b"a = " + b"[" * 4000, "is not TOML"),
        (b"a = " + b"1" * 5000, "is not TOML"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_files_that_are_no_toml_are_refused_with_the_line(text: bytes, words: str, tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=words):
        load(path)


def test_a_folder_is_no_recipe(tmp_path: Path):
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "folder.toml")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "test_error", "value": 6.0, "wher": "Table 1"}, r"published\[0\].wher is not a key.*'where'"),
        ({"name": "test_error"}, r"published\[0\].value is missing"),
        ({"name": "test_error", "value": "6"}, r"published\[0\].value = '6' must be"),
        (6.37, r"published\[0\] = 6.37 must be a table"),
    ],
)
def test_a_wrong_published_number_is_named(entry: object, words: str):
    tables = load("digits").model_dump(exclude_none=True) | {"published": [entry]}
    with pytest.raises(InputError, match=words):
        checked(tables, where="test")
