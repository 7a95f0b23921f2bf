"""What can be known of a sweep's trials before the first of them is trained."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from locallearn import datasets
from locallearn.datasets.image_set import Splits
from locallearn.errors import InputError, listed
from locallearn.recipes import Recipe
from locallearn.sweeping.points import Point, told
from locallearn.sweeping.sweep_file import Sweep
from locallearn.training.assembly import build_model, check_last_batch, find_device, without_weights

NOTHING_HELD_OUT = (
    'score = "validation" compares trials by images that are held out of training, and there are none: give '
    '"dataset.validation" = 0.1 under [set]. To repeat a table that a paper prints of its test images, say '
    'score = "test"; a value that is chosen so is no fair result.'
)


def check_points(sweep: Sweep, points: Sequence[Point]) -> None:
    """Read every trial's data, build its model on the processor, and forget both.

    Args:
        sweep: The sweep.
        points: See `points.points`.

    Raises:
        InputError: Data, networks, methods and batches do not fit each other, or nothing is held out to compare by; all
            that is wrong is told at once.
    """
    loaded: dict[str, Splits | str] = {}
    problems: list[str] = []
    for point in points:
        problem = _problem(point.recipe, sweep, loaded)
        if problem is not None:
            # What all trials share is told once.
            shared = problem == NOTHING_HELD_OUT or problem in loaded.values()
            problems.append(problem if shared else f"{told(point.values)}: {problem}")
    if problems:
        raise InputError(f"Nothing was trained. {listed(list(dict.fromkeys(problems)))}")


def _problem(recipe: Recipe, sweep: Sweep, loaded: dict[str, Splits | str]) -> str | None:
    key = json.dumps([recipe.dataset.model_dump(mode="json"), str(recipe.data), recipe.seed])
    if key not in loaded:
        loaded[key] = _splits(recipe)
    splits = loaded[key]
    if isinstance(splits, str):
        return splits
    if sweep.score == "validation" and splits.validation is None:
        return NOTHING_HELD_OUT
    try:
        find_device(recipe.device)
        model = build_model(without_weights(recipe), splits.spec, torch.device("cpu"))
        images, size = len(splits.train), recipe.training.batch_size
        if not splits.spec.by_lists:
            check_last_batch(model, images - images % size if recipe.training.drop_last else images, size)
    except InputError as error:
        return str(error)
    return None


def _splits(recipe: Recipe) -> Splits | str:
    section = recipe.dataset
    options: dict[str, Any] = section.model_dump(include={"download", "validation", "num_classes"})
    with warnings.catch_warnings():
        # The runs that follow warn again, and note it beside their results.
        warnings.simplefilter("ignore")
        try:
            return datasets.load(section.name, recipe.data, seed=recipe.seed, **options)
        except InputError as error:
            return str(error)
