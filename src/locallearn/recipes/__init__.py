"""Complete runs as data: checked recipes, and the ones that come with the package. Nothing here imports torch."""

from __future__ import annotations

from locallearn.recipes.load import checked, dumped, load, names, read, save
from locallearn.recipes.recipe import Recipe
from locallearn.recipes.stored import differences

__all__ = ["Recipe", "checked", "differences", "dumped", "load", "names", "read", "save"]
