"""What a user reads about a wrong recipe: the key path, the value, and a suggestion; all problems at once."""

from __future__ import annotations

import math
from typing import Any

import pytest

from locallearn.errors import InputError
from locallearn.recipes import checked, read


def refusal(path: str, value: Any) -> str:
    recipe = read("digits")
    *sections, key = path.split(".")
    table = recipe
    for section in sections:
        table = table.setdefault(section, {})
    table[key] = value
    with pytest.raises(InputError) as caught:
        checked(recipe, where="recipe 'mine.toml'")
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.lrr", 1, "training.lrr is not a key of this section. Did you mean 'lr'?"),
        ("epochs", 1, "epochs is not a key of this section. Did you mean 'training.epochs'?"),
        ("num_block", 1, "num_block is not a key of this section. Did you mean 'partition.num_blocks'?"),
        ("training.schedule.warmup", 1, "training.schedule.warmup is not a key"),
        (
            "method.haed",
            "x",
            "method.haed is not a key of this section. Did you mean 'head'? The keys there are tokens, head.",
        ),
        ("method.head", "autors", "Did you mean 'authors'?"),
        ("method.head", "x", "method.head = 'x' must be 'auglocal',"),
        ("method.name", "dlg", "method.name: There is no method 'dlg'. Did you mean 'dgl'?"),
        ("method.name", "nowhere:Class", "method.name: The method 'nowhere:Class' cannot be imported"),
        ("method.name", 3, "method.name = 3 must be a valid string."),
        ("method", "dgl", "method = 'dgl' must be a table of keys and values."),
        ("dataset.name", "cifer10", "Did you mean 'cifar10'"),
        ("network.name", "resnt32", "network.name: There is no network 'resnt32'. Did you mean 'resnet32'?"),
        (
            "network.options",
            {"a": math.inf},
            "network.options.a = inf must be true or false, a finite number or a text.",
        ),
        ("training.lr", math.nan, "training.lr = nan must be a finite number."),
        ("training.lr", -1, "training.lr = -1 must be greater than 0."),
        ("training.betas", [0.9, "x"], "training.betas[1] = 'x' must be a valid number."),
        ("training.schedule.name", "cosin", "Did you mean 'cosine'?"),
        ("training", {"lr": 0.1}, "training.epochs is missing and has no default."),
        ("title", "x" * 10_000 + "\n" * 3, None),
    ],
)
def test_a_problem_is_told_by_its_key_path(path: str, value: Any, words: str | None):
    if words is None:
        recipe = read("digits") | {path: value}
        assert checked(recipe, where="x").title == value
    else:
        assert words in refusal(path, value)
        assert refusal(path, value).startswith("recipe 'mine.toml': ")


def test_fields_that_the_methods_own_checks_refuse_are_told_at_the_method():
    message = refusal("method", {"name": "infopro", "reconstruction": [-1.0, 2.0]})
    assert "method: InfoPro's reconstruction weights must be" in message


def test_all_problems_are_told_at_once():
    recipe = read("digits")
    recipe["training"] |= {"lrr": 1, "lr": -1, "epochs": "3"}
    recipe["method"] |= {"haed": 1, "head": "x"}
    recipe["dvice"] = "cpu"
    with pytest.raises(InputError) as caught:
        checked(recipe, where="x")
    lines = str(caught.value).splitlines()[1:]
    paths = {line.removeprefix("- ").split()[0].rstrip(":") for line in lines}
    assert paths == {"training.lrr", "training.lr", "training.epochs", "method.haed", "method.head", "dvice"}
