"""A run's folder as seen without torch: the names of its files, and how the recipe in it differs from another."""

from __future__ import annotations

from typing import Any

from locallearn.recipes.recipe import Recipe

RECIPE = "recipe.toml"
NETWORK = "network.safetensors"
SUMMARY = "summary.json"
METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"


def differences(stored: Recipe, given: Recipe) -> list[str]:
    """Where two recipes differ.

    Args:
        stored: The one in the folder.
        given: The one asked for.

    Returns:
        A sentence for each setting that differs, with its path and both values.
    """
    before, now = flat(stored.model_dump(exclude_none=True)), flat(given.model_dump(exclude_none=True))
    changed = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    return [f"{key} is {now.get(key)!r}, but the run there has {before.get(key)!r}." for key in changed]


def flat(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables with dotted paths as keys.

    Args:
        tables: Nested dictionaries.
        prefix: Path of the tables.

    Returns:
        One dictionary.
    """
    found: dict[str, Any] = {}
    for key, value in tables.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
