from __future__ import annotations

import pytest

from locallearn.errors import InputError
from locallearn.recipes import load
from locallearn.sweeping.points import bases, points, searched
from locallearn.sweeping.sweep_file import checked


def made(**tables):
    sweep = checked(tables, where="A test's sweep")
    return points(sweep, bases(sweep))


def test_a_grid_is_every_combination_once_the_last_field_fastest():
    found = made(recipe="digits", grid={"training.lr": [0.1, 0.2], "training.batch_size": [16, 32, 64]})
    assert [(p.recipe.training.lr, p.recipe.training.batch_size) for p in found] == [
        (0.1, 16), (0.1, 32), (0.1, 64), (0.2, 16), (0.2, 32), (0.2, 64),
    ]  # fmt: skip
    assert [tuple(p.values.values()) for p in found[:2]] == [(0.1, 16), (0.1, 32)]
    assert len(made(recipe="digits", grid={"training.lr": [0.1, 0.2, 0.3]}, trials=2)) == 2


def test_what_is_set_is_shared_and_the_rest_is_the_recipe():
    (point,) = made(recipe="digits", set={"training.epochs": 3}, grid={"training.schedule.warmup_epochs": [1]}, seeds=4)
    base = load("digits")
    training = base.training.model_copy(
        update={"epochs": 3, "schedule": base.training.schedule.model_copy(update={"warmup_epochs": 1})}
    )
    kept = point.recipe.model_copy(update={"title": base.title})
    assert kept == base.model_copy(update={"training": training, "seeds": 4})
    assert load("digits") == base


def test_another_method_begins_with_its_own_defaults():
    found = made(
        recipe="cifar10_resnet32_k16_dgl+man",
        set={"method.name": "infopro"},
        grid={"method.head": ["1c2f", "2c2f"]},
    )
    assert [point.recipe.method.options["head"] for point in found] == ["1c2f", "2c2f"]
    assert "momentum" not in found[0].recipe.method.options


def test_another_data_set_begins_with_its_own_augmentation():
    (point,) = made(recipe="cifar10_resnet32_k16_dgl", set={"dataset.name": "digits"}, grid={"training.lr": [0.1]})
    assert point.recipe.dataset.augmentation.options == {}


def test_fields_of_what_a_method_is_laid_over():
    found = made(recipe="cifar10_resnet32_k16_dgl+man", grid={"method.base.head": ["man", "auglocal"]})
    assert [point.recipe.method.options["base"]["head"] for point in found] == ["man", "auglocal"]


def test_a_case_has_the_last_word_over_what_is_shared():
    cases = [{"name": "own", "set": {"training.epochs": 7}}, {"name": "shared"}]
    found = made(recipe="digits", set={"training.epochs": 3, "training.lr": 0.5}, case=cases)
    assert [(p.recipe.training.epochs, p.recipe.training.lr) for p in found] == [(7, 0.5), (3, 0.5)]


def test_printed_numbers_stay_only_with_the_run_they_were_printed_for():
    name = "cifar10_resnet32_k16_dgl+man"
    same, other = made(recipe=name, set={"data": "x", "device": "cpu"}, grid={"method.momentum": [0.995, 0.9]}, seeds=2)
    assert same.recipe.published == load(name).published and same.recipe.title == load(name).title
    assert other.recipe.published == () and other.recipe.title.endswith("; method.momentum = 0.9")


def test_every_refused_trial_is_named():
    with pytest.raises(InputError) as caught:
        made(recipe="digits", grid={"training.lr": [0.1, -1.0], "method.heat": ["a"], "training.epochs": [1, 0]})
    told = str(caught.value)
    assert told.count("method.heat") >= 4 and "training.lr = -1.0 must be greater than 0" in told
    assert "training.epochs = 0 must be" in told
    with pytest.raises(InputError, match=r"title is no table, so there is no field 'title\.lr'"):
        made(recipe="digits", grid={"title.lr": [1]})


def test_every_missing_recipe_is_named():
    with pytest.raises(InputError) as caught:
        made(case=[{"name": "a", "recipe": "nothing"}, {"name": "b", "recipe": "nought"}])
    assert "'nothing'" in str(caught.value) and "'nought'" in str(caught.value)


def test_a_search_is_checked_at_its_ends():
    tables = {"recipe": "digits", "trials": 3}
    found = made(**tables, search={"training.lr": {"low": 0.1, "high": 1}, "training.batch_size": {"choices": [8, 9]}})
    assert [tuple(p.values.values()) for p in found] == [(0.1, 8), (0.1, 9), (1.0, 8), (1.0, 9)]
    with pytest.raises(InputError, match=r"training\.momentum = 1\.5"):
        made(**tables, search={"training.momentum": {"low": 0.5, "high": 1.5}})
    sweep = checked(tables | {"search": {"training.lr": {"low": 0.1, "high": 1.0}}}, where="x")
    assert searched(sweep, bases(sweep), {"training.lr": 0.3}).recipe.training.lr == 0.3
