"""The recipe's own rules: types, ranges, and entries that must agree."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from locallearn.datasets.registry import SPECS
from locallearn.methods import MAN, METHODS, InfoPro, method
from locallearn.recipes import Recipe
from locallearn.recipes.problems import problems
from locallearn.recipes.recipe import AugmentationSection
from locallearn.recipes.section import Section
from locallearn.recipes.training_section import ScheduleSection


def tables(**changes: Any) -> dict[str, Any]:
    """A small recipe with entries changed by dotted path (two underscores for a dot)."""
    recipe: dict[str, Any] = {
        "dataset": {"name": "digits"},
        "network": {"name": "resnet20"},
        "partition": {"num_blocks": 4},
        "method": {"name": "dgl"},
        "training": {"epochs": 3, "lr": 0.1},
    }
    for path, value in changes.items():
        *sections, key = path.split("__")
        table = recipe
        for section in sections:
            table = table.setdefault(section, {})
        table[key] = value
    return recipe


def refused_at(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(tables(**changes))
    return ["__".join(map(str, error["loc"])) for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("path", "values"),
    {
        "seed": [-1, 0.5, "1", True, 2**63],
        "seeds": [0, True],
        "precision": ["fp64", 32],
        "channels_last": [1, "yes"],
        "data": [3],
        "device": ["gpu", "cuda:x"],
        "dataset__name": ["cifar11", 10],
        "dataset__validation": [-0.1, 1, 1.0, math.nan],
        "dataset__num_classes": [0, 1.5],
        "dataset__augmentation__pad": [-1],
        "dataset__augmentation__padding": ["circular"],
        "network__name": ["resnet21", "", "a b:c"],
        "partition__num_blocks": [0, -1, 2.5, True],
        "partition__balance": ["time"],
        "partition__preset": ["agulocal"],
        "training__epochs": [0, -3, 1.5, "3", True, None],
        "training__batch_size": [0],
        "training__optimizer": ["adam"],
        "training__lr": [0, -0.1, math.nan, math.inf, "0.1", True],
        "training__momentum": [1.0, -0.1, math.nan],
        "training__weight_decay": [-1e-4, math.inf],
        "training__auxiliary_lr": [0.0],
        "training__accumulate": [0],
        "training__clip_norm": [0.0, math.nan],
        "training__checkpoint_every_steps": [0],
        "training__keep_checkpoints": [0],
        "training__evaluate_every": [0],
        "training__schedule__name": ["cosin"],
        "training__schedule__warmup_epochs": [-1],
        "training__schedule__gamma": [0.0, math.inf],
    }.items(),
)
def test_values_out_of_range_or_of_another_type_are_refused_at_their_path(path: str, values: list[Any]):
    for value in values:
        assert refused_at({path: value}) == [path]


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"partition__num_blocks": None}, "partition", "split_points"),
        ({"partition__split_points": ["layer1"]}, "partition", "leave num_blocks"),
        ({"training__momentum": 0.0}, "training", "nesterov"),
        ({"training__clip_norm": 1.0, "training__clip_value": 1.0}, "training", "exclude"),
        ({"training__step_in_backward": True, "training__accumulate": 2}, "training", "after every batch"),
        ({"training__step_in_backward": True, "training__clip_norm": 1.0}, "training", "use clip_value instead"),
        ({"training__step_in_backward": True, "precision": "fp16"}, "", "use precision bf16 or fp32"),
        ({"training__capture": True, "training__clip_norm": 1.0}, "training", "accumulate and clip_norm out"),
        ({"training__capture": True, "training__clip_value": 1.0}, "training", "only with step_in_backward"),
        ({"training__capture": True, "precision": "fp16"}, "", "reads overflow on the host"),
        ({"training__capture": True, "device": "cpu"}, "", "needs CUDA"),
        ({"training__offload": True}, "training", "set step_in_backward = true"),
        (
            {"training__offload": True, "training__step_in_backward": True, "device": "cpu"},
            "",
            "frees memory of an accelerator",
        ),
        ({"training__schedule__name": "step"}, "training__schedule", "milestones"),
        ({"training__schedule__milestones": [80, 40]}, "training__schedule", "rise"),
    ],
)
def test_entries_that_do_not_agree_are_refused(changes: dict[str, Any], place: str, words: str):
    with pytest.raises(ValidationError, match=words) as caught:
        Recipe.model_validate(tables(**changes))
    assert ["__".join(map(str, error["loc"])) for error in caught.value.errors()] == [place]


def test_a_recipe_cannot_be_changed():
    recipe = Recipe.model_validate(tables())
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        recipe.training.lr = 3.0  # type: ignore[misc]


def test_every_field_of_every_section_is_described():
    sections: list[type[BaseModel]] = [Recipe]
    while sections:
        section = sections.pop()
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                sections.append(field.annotation)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_completed_with_its_defaults_and_built(name: str):
    section = Recipe.model_validate(tables(method__name=name)).method
    assert section.build() == METHODS[name]() == method(name, **section.options)


def test_the_base_of_a_method_is_a_table_of_its_own():
    given = {"name": "infopro+man", "momentum": 0.9, "base": {"reconstruction": [1, 0.5], "head": "2c2f"}}
    section = Recipe.model_validate(tables(method=given)).method
    assert section.options["base"]["feature_dim"] == 128
    assert section.build() == MAN(InfoPro(reconstruction=(1.0, 0.5), head="2c2f"), momentum=0.9)
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(tables(method=given | {"base": {"haed": "2c2f"}}))
    assert "method.base.haed is not a key of this section. Did you mean 'head'?" in problems(caught.value, Recipe)[0]


def test_a_method_keeps_the_fields_it_is_given():
    section = Recipe.model_validate(tables(method={"name": "infopro", "reconstruction": [1, 0.5]})).method
    assert section.build() == METHODS["infopro"](reconstruction=(1.0, 0.5))  # type: ignore[call-arg]


def test_an_augmentation_section_changes_only_what_it_names():
    published = SPECS["cifar10"].augmentation
    assert AugmentationSection().over(published) == published
    changed = AugmentationSection(pad=0).over(published)
    assert (changed.pad, changed.padding, changed.flip) == (0, published.padding, published.flip)


def test_the_schedules_default_is_the_released_codes():
    schedule = ScheduleSection()
    assert (schedule.name, schedule.warmup_epochs, schedule.warmup_start) == ("warmup_cosine", 10, 0.01)
