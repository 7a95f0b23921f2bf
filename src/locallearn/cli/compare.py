"""Train a recipe by several methods and set accuracy, memory, time and arithmetic side by side."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from locallearn import atomic_file
from locallearn.cli import runs
from locallearn.cli.flags import Format, Json, RecipeName, parsed_with_recipe, recipe_word
from locallearn.cli.tables import print_rows
from locallearn.datasets.registry import find_spec
from locallearn.errors import InputError
from locallearn.recipes import Recipe, checked, load
from locallearn.recipes.stored import RECIPE

if TYPE_CHECKING:
    from locallearn.datasets.spec import DatasetSpec
    from locallearn.training import Summary
    from locallearn.training.step_cost import StepCost

Given = TypeVar("Given")
Found = TypeVar("Found")
METHODS = ("backprop", "dgl", "predsim", "infopro")
DENSE_METHODS = ("backprop", "dgl", "dgl+man")
"""Of tasks without a class for each sample, which predsim and the contrastive infopro need."""
DEFAULT = "digits"


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Train a recipe by several methods; each method's run is a folder of --out, and compare.json the table.

    Args:
        methods: Methods to compare; the recipe's own keeps the recipe's fields, the others have their defaults. None
            takes backprop, dgl, predsim and infopro, and backprop, dgl and dgl+man for segmentation and detection.
        out: Folder of the comparison; none makes runs/RECIPE-compare-seedSEED.
    """

    recipe: RecipeName = DEFAULT
    methods: tuple[str, ...] | None = None
    out: Path | None = None
    format: Format = "table"
    json: Json = False


def resolve(argv: Sequence[str]) -> tuple[Compare, list[Recipe]]:
    """What a command line asks to compare.

    Args:
        argv: Words after `compare`.

    Returns:
        The verb's own options, and a checked recipe for each method.

    Raises:
        InputError: The recipe, a flag or a method is refused.
    """
    word = recipe_word(argv) or DEFAULT
    options, recipe = parsed_with_recipe(Compare, argv, load(word), verb="compare", where=f"The recipe {word!r}")
    if options.recipe != word:
        raise InputError(f"Name the recipe first: locallearn compare {options.recipe} ...")
    if options.methods is None:
        classified = find_spec(recipe.dataset.name).task == "classification"
        options = replace(options, methods=METHODS if classified else DENSE_METHODS)
    assert options.methods is not None
    if not options.methods or len(set(options.methods)) < len(options.methods):
        raise InputError(f"--methods is {' '.join(options.methods) or 'empty'}: give different methods, at least one.")
    return options, [by_method(recipe, name) for name in options.methods]


def by_method(recipe: Recipe, name: str) -> Recipe:
    """A recipe with another method.

    Args:
        recipe: Any recipe.
        name: Name of the method; its fields have their defaults unless it is the recipe's own.

    Returns:
        The checked recipe.

    Raises:
        InputError: There is no such method.
    """
    if name == recipe.method.name:
        return recipe
    return checked(recipe.model_dump() | {"method": {"name": name}}, where=f"--methods {name}")


def run(argv: Sequence[str]) -> int:
    """Train by every method, measure every step, and print the table.

    Args:
        argv: Words after `compare`.

    Returns:
        The exit code.
    """
    options, recipes = resolve(argv)
    out = runs.new_folder(options.out, options.recipe, recipes[0], label="compare")
    from locallearn.training import for_stream, train_seeds

    spec = _check(recipes)
    rows = []
    for recipe in recipes:
        folder = out / runs.file_name(recipe.method.name)
        print(f"{options.recipe} -> {folder}", file=sys.stderr)
        with runs.stoppable("train", folder, RECIPE):
            rows.append(_score(recipe, train_seeds(recipe, folder, progress=for_stream)))
    _write(options, rows, out)
    print("measuring memory, arithmetic and time of one step", file=sys.stderr)
    rows = [row | cost for row, cost in zip(rows, _costs(recipes, spec), strict=True)]
    table = _write(options, rows, out)
    print_rows(rows, form=options.format)
    if options.json:
        print(json.dumps(table))
    return 0


def _score(recipe: Recipe, summaries: Sequence[Summary]) -> dict[str, Any]:
    scores = [summary.test_score for summary in summaries]
    row = {"method": recipe.method.name, f"test_{summaries[0].score}": statistics.fmean(scores)}
    return row | ({"deviation": statistics.stdev(scores)} if len(scores) > 1 else {})


def _check(recipes: Sequence[Recipe]) -> DatasetSpec:
    # What all recipes learn from, as it was found.
    from locallearn.training.assembly import check_models, found_spec

    spec = found_spec(recipes[0])
    try:
        check_models(recipes, spec)
    except InputError as error:
        raise InputError(f"Nothing was trained, because some --methods do not fit. {error}") from error
    return spec


def _write(options: Compare, rows: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
    table = {"recipe": options.recipe, "methods": rows, "run": str(out)}
    atomic_file.write(out / "compare.json", (json.dumps(table, indent=2) + "\n").encode())
    return table


def _costs(recipes: Sequence[Recipe], spec: DatasetSpec) -> list[dict[str, Any]]:
    # Bytes, time and operations of one step by each recipe, also over backprop's; of detectors they are not counted.
    from locallearn.training.step_cost import step_cost, time_ratios

    counts: list[StepCost | None] = [None] * (1 + len(recipes))
    if not spec.by_lists:
        counts = [
            _or_none(partial(step_cost, spec=spec), each) for each in (by_method(recipes[0], "backprop"), *recipes)
        ]
    reference, *costs = counts
    ratios = _or_none(partial(time_ratios, spec=spec), recipes) or [None] * len(recipes)
    return [
        {
            "peak_bytes": cost and cost.peak_bytes,
            "bytes_ratio": cost and reference and cost.peak_bytes / reference.peak_bytes,
            "time_ratio": ratio,
            "flops_ratio": cost and reference and cost.flops / reference.flops,
        }
        for cost, ratio in zip(costs, ratios, strict=True)
    ]


def _or_none(measured: Callable[[Given], Found], given: Given) -> Found | None:
    # The results are there already; what cannot be measured costs none of them.
    try:
        return measured(given)
    except Exception as error:
        what = given.method.name if isinstance(given, Recipe) else "the methods"
        print(f"note: the step of {what} could not be measured: {error}", file=sys.stderr)
        return None
