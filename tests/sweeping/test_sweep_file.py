from __future__ import annotations

import tomllib

import pytest

from locallearn.errors import InputError
from locallearn.sweeping import load, names, summary
from locallearn.sweeping.points import bases, points, varied_number
from locallearn.sweeping.sweep_file import checked, dumped

PRINTED = {
    "man_momentum": [10.31, 9.94, 9.11, 10.15],
    "man_momentum_infopro": [9.84, 9.81, 9.65, 9.77],
    "man_ablation": [14.08, 12.93, 11.07, None, 9.11],
    "mlaan_ablation": [14.08, 8.46, 7.64, 6.36],
    "auglocal_depth": [9.02, 7.38, 6.78, 6.25, 6.04],
    "auglocal_selection": [6.04, 7.25, 8.27, 8.60, 10.08, 11.72, 14.31],
    "auglocal_depth_resnet32": [None] * 5,
}
"""Test errors as the papers' tables print them, or 100 less the accuracies, typed from the papers."""


@pytest.mark.parametrize("name", names())
def test_shipped_sweeps_are_whole(name):
    sweep = load(name)
    made = points(sweep, bases(sweep))
    assert summary(name) and sweep.source and len(made) >= 4
    assert load(name) == checked(tomllib.loads(dumped(sweep)), where="again")
    recipes = [point.recipe.model_dump(exclude={"title", "source", "published", "guessed"}) for point in made]
    assert all(recipe != other for place, recipe in enumerate(recipes) for other in recipes[:place])
    assert sweep.score == ("validation" if name.startswith("digits") else "test")


@pytest.mark.parametrize("name", PRINTED)
def test_papers_sweeps_have_the_papers_numbers(name):
    sweep = load(name)
    found = [
        next((each.value for each in point.recipe.published if each.name == "test_error"), None)
        for point in points(sweep, bases(sweep))
    ]
    assert found == PRINTED[name]


def test_every_paper_sweep_is_held_beside_its_paper():
    assert {name for name in names() if not name.startswith("digits")} == {*PRINTED}


def test_momentum_sweeps_lie_along_the_momentum():
    for name, values in (("man_momentum", [0.999, 0.998, 0.995, 0.99]), ("digits_man_momentum", None)):
        sweep = load(name)
        made = points(sweep, bases(sweep))
        assert varied_number(point.recipe for point in made) == "method.momentum"
        found = [point.recipe.method.options["momentum"] for point in made]
        assert found == (values or list(sweep.grid["method.momentum"]))


def test_ablations_leave_out_what_they_name():
    for name in ("man_ablation", "digits_man_ablation"):
        sweep = load(name)
        methods = {point.values["case"]: point.recipe.method for point in points(sweep, bases(sweep))}
        assert methods["neither"].name == "dgl"
        assert (methods["averaging only"].options["bias"], methods["averaging only"].options["copy"]) == (
            "none",
            "averaged",
        )
        assert (methods["bias only"].options["bias"], methods["bias only"].options["copy"]) == ("unit", "none")
        assert (methods["both"].options["bias"], methods["both"].options["copy"]) == ("unit", "averaged")
    for name in ("mlaan_ablation", "digits_mlaan_ablation"):
        sweep = load(name)
        methods = {point.values["case"]: point.recipe.method for point in points(sweep, bases(sweep))}
        assert methods["windows only"].options["leap"] == "none" and methods["windows only"].options["cascade"] > 1
        assert methods["leaps only"].options["leap"] != "none" and methods["leaps only"].options["cascade"] == 1
        assert methods["both"].options["leap"] != "none" and methods["both"].options["cascade"] > 1


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"recipe": "digits"}, ["sweep: Give one of [grid], [search] and [[case]], not none."]),
        ({"recipe": "digits", "grid": {"training.lr": [0.1, 0.1]}}, ["training.lr", "must be different values"]),
        ({"recipe": "digits", "grid": {"training.lr": []}}, ["must be different values, at least one"]),
        ({"recipe": "digits", "search": {"training.lr": {"low": 0.1, "high": 1.0}}}, ["needs trials"]),
        ({"grid": {"training.lr": [0.1]}}, ["recipe is missing"]),
        (
            {"recipe": "digits", "grid": {"training.lr": [0.1]}, "set": {"training.lr": 1.0}},
            ["set and swept at once: training.lr"],
        ),
        ({"recipe": "digits", "grid": {"seeds": [1, 2]}}, ["seeds is a key of the sweep itself"]),
        ({"recipe": "digits", "case": [{"name": "a"}, {"name": "a"}]}, ["the same name: 'a'"]),
        (
            {"recipe": "digits", "case": [{"nam": "a"}]},
            ["case[0].nam is not a key", "case[0].name is missing"],
        ),
        (
            {
                "recipe": "digits",
                "trials": 0,
                "score": "train",
                "search": {
                    "a": {"low": 1.0, "high": 0.5, "log": True, "step": 0.1},
                    "b": {"low": 0, "high": 2, "log": True},
                    "c": {"choices": []},
                    "d": {"choices": [1], "low": 1},
                    "e": {"low": 1},
                    "f": {"low": 1, "high": 4, "step": 0.5},
                    "g": {"low": 2, "high": 2},
                },
            },
            [
                "trials = 0",
                "score = 'train'",
                "search.a: ",
                "low = 1.0 must be below high = 0.5",
                "log and step exclude each other",
                "search.b: log = true needs low above 0, not 0",
                "search.c: choices = []",
                "search.d: choices say all values",
                "search.e: Give low and high, or choices",
                "search.f: step = 0.5 must be whole",
                "search.g: low = 2 must be below high = 2",
            ],
        ),
    ],
)
def test_all_that_is_wrong_is_told_at_once(tables, words):
    with pytest.raises(InputError) as caught:
        checked(tables, where="The sweep 'x'")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [("man_momentun", "Did you mean 'man_momentum'"), ("none.toml", "There is no file 'none.toml'")],
)
def test_sweeps_that_do_not_exist(name, words):
    with pytest.raises(InputError, match=words):
        load(name)


def test_a_file_that_is_no_toml(tmp_path):
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(InputError, match="is not TOML"):
        load(tmp_path / "bad.toml")
