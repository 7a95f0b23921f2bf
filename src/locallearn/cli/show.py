"""Show a recipe: its source, its published results, what is guessed, and every setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from locallearn.cli.flags import Json, RecipeName, parsed
from locallearn.datasets.registry import find_spec
from locallearn.recipes import Published, Recipe, dumped, load


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show a recipe with every default written out; the TOML at the end can be saved and changed."""

    recipe: RecipeName
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Print a recipe.

    Args:
        argv: Words after `show`.

    Returns:
        The exit code.
    """
    options = parsed(Show, argv, verb="show")
    recipe = load(options.recipe)
    published = [f"#   {number}{disagreement(number, recipe)}" for number in recipe.published]
    guessed = [f"#   {sentence}" for sentence in recipe.guessed]
    print("\n".join([f"# {recipe.title}", f"# Source: {recipe.source or 'not stated'}"]))
    print("\n".join(["# Published:", *(published or ["#   nothing"]), "# Guessed:", *(guessed or ["#   nothing"])]))
    print(f"# Seeds: {recipe.seeds}{'; --seeds 1 trains once.' if recipe.seeds > 1 else ''}")
    print(f"# Images are varied by {_augmentation(recipe)}\n")
    print(dumped(recipe), end="")
    if options.json:
        print(json.dumps(recipe.model_dump(mode="json", exclude_none=True)))
    return 0


def _augmentation(recipe: Recipe) -> str:
    section, published = recipe.dataset.augmentation, find_spec(recipe.dataset.name).augmentation
    return f"{section.over(published)}{', as published' if not section.options else ''}"


def disagreement(number: Published, recipe: Recipe) -> str:
    """What to add to a published number that contradicts another one.

    Args:
        number: One of the recipe's.
        recipe: The recipe.

    Returns:
        The other values, or nothing if there are none.
    """
    others = {f"{other.value:.2f}" for other in recipe.published if other.name == number.name}
    others.discard(f"{number.value:.2f}")
    return f"; also printed: {', '.join(sorted(others))}" if others else ""
