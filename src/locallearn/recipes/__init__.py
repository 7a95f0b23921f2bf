"""Complete runs as data: checked recipes, and the ones that come with the package. Nothing here imports torch."""

from __future__ import annotations

from locallearn.recipes.load import checked, dumped, groups, known, load, names, read, save, summary
from locallearn.recipes.recipe import Published, Recipe
from locallearn.recipes.stored import differences

__all__ = [
    "Published",
    "Recipe",
    "checked",
    "differences",
    "dumped",
    "groups",
    "known",
    "load",
    "names",
    "read",
    "save",
    "summary",
]
