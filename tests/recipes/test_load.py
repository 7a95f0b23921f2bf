"""Recipes from and to TOML, and the ones that come with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from locallearn.errors import InputError
from locallearn.recipes import checked, dumped, load, names, read, save

PUBLISHED = {
    "cifar10_resnet32_dgl": (14.08, 6.37),
    "cifar10_resnet32_predsim": (22.71, 6.37),
    "cifar10_resnet32_infopro": (12.93, 6.37),
    "cifar10_resnet110_dgl": (14.31, 5.39),
    "cifar10_resnet110_predsim": (25.05, 5.39),
    "cifar10_resnet110_infopro": (13.05, 5.39),
}


@pytest.mark.parametrize("name", names())
def test_a_saved_recipe_reads_back_equal(name: str, tmp_path: Path):
    recipe = load(name)
    save(recipe, tmp_path / "recipe.toml")
    assert load(tmp_path / "recipe.toml") == recipe
    assert checked(tomllib.loads(dumped(recipe)), where="dumped") == recipe


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


def test_all_papers_recipes_have_the_released_codes_settings():
    assert set(names()) == {"digits", *PUBLISHED}
    for name, errors in PUBLISHED.items():
        recipe = load(name)
        training = recipe.training
        assert (training.epochs, training.batch_size, training.lr) == (400, 1024, 0.8)
        assert (training.optimizer, training.momentum, training.nesterov) == ("sgd", 0.9, True)
        assert training.weight_decay == 1e-4 and training.schedule.name == "warmup_cosine"
        assert recipe.partition.preset == "auglocal" and recipe.dataset.name == "cifar10"
        assert recipe.partition.num_blocks == {"resnet32": 16, "resnet110": 55}[recipe.network.name]
        assert name == f"cifar10_{recipe.network.name}_{recipe.method.name}"
        assert (recipe.published["test_error"], recipe.published["backprop_test_error"]) == errors
        assert recipe.title and recipe.source and recipe.guessed


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("digit", "Did you mean 'digits'"),
        ("nowhere.toml", "There is no file 'nowhere.toml'"),
        ("/", "There is no recipe '/'"),
    ],
)
def test_unknown_recipes_are_refused_with_the_known_ones(given: str, words: str):
    with pytest.raises(InputError, match=words) as caught:
        load(given)
    assert "digits" in str(caught.value)


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
