"""Which fields of a recipe decide what is learned, and which only describe it or say how it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from locallearn.recipes.recipe import Recipe
from locallearn.recipes.stored import flat

DESCRIPTIVE = ("title", "source", "published", "guessed")
"""What is said about a recipe, and about no setting of it."""
DRAW = ("seed", "seeds", "data")
"""Which draw a run is, and where its images lie."""
NEUTRAL = (
    "device", "channels_last", "deterministic", "execution", "dataset.download", "dataset.workers",
    "training.keep_checkpoints", "training.checkpoint_every_steps", "training.evaluate_every", "training.offload",
    "training.capture", "training.step_in_backward", "distributed.shard", "distributed.queue", "distributed.timeout",
    "distributed.crossing",
)  # fmt: skip
"""Settings that leave what is learned as it is, up to rounding."""


def settings(recipe: Recipe, *, without: Sequence[str]) -> dict[str, Any]:
    """What a recipe sets, by dotted paths.

    Args:
        recipe: A recipe.
        without: Paths left out, with all below them.

    Returns:
        Values of all other settings.
    """
    values = flat(recipe.model_dump(mode="json", exclude_none=True))
    return {key: value for key, value in values.items() if not any(f"{key}.".startswith(f"{o}.") for o in without)}
