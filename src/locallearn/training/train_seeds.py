"""Train a recipe once for each of its seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.errors import InputError
from locallearn.parallel.team import Team
from locallearn.recipes import save
from locallearn.recipes.stored import RECIPE
from locallearn.training.progress import Progress, Silent
from locallearn.training.train import train

if TYPE_CHECKING:
    from locallearn.recipes.recipe import Recipe
    from locallearn.training.summary import Summary


def train_seeds(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    fall_back: bool = False,
    progress: Callable[[], Progress] = Silent,
    team: Team | None = None,
) -> list[Summary]:
    """Train once for each seed of a recipe.

    Args:
        recipe: What to train.
        out: Folder of the run; with more than one seed, a folder `seedN` within it for each.
        resume: Go on with what is there.
        fall_back: With `resume`, set damaged checkpoints aside and go on from the newest sound one.
        progress: Makes what each run shows.
        team: The processes that train together; this one alone if None.

    Returns:
        The summaries in the order of the seeds.

    Raises:
        InputError: The first seed's run was refused; its folder is gone again.
    """
    team = team or Team()
    options: dict[str, Any] = {"fall_back": fall_back, "team": team}
    if recipe.seeds == 1:
        return [train(recipe, out, resume=resume, progress=progress() if team.leads else Silent(), **options)]
    try:
        team.shared(lambda: _open(recipe, out))
        summaries = []
        for seed in range(recipe.seed, recipe.seed + recipe.seeds):
            folder = out / f"seed{seed}"
            one = recipe.model_copy(update={"seed": seed, "seeds": 1})
            begun = team.shared((folder / RECIPE).exists)
            shown = progress() if team.leads else Silent()
            summaries.append(train(one, folder, resume=resume and begun, progress=shown, **options))
        return summaries
    except InputError:
        if team.leads and not resume and [item.name for item in out.glob("*")] == [RECIPE]:
            (out / RECIPE).unlink()
            out.rmdir()
        raise


def _open(recipe: Recipe, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save(recipe, out / RECIPE)
