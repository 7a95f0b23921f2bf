"""The folder a run leaves behind: which files it holds and whether it may be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.atomic_file import TEMPORARY
from locallearn.errors import InputError, listed
from locallearn.recipes import differences, load, save
from locallearn.recipes.stored import METRICS, NETWORK, RECIPE, SUMMARY, TIMINGS
from locallearn.training.checkpoint import names
from locallearn.training.metrics_log import JsonLines

if TYPE_CHECKING:
    from locallearn.recipes.recipe import Recipe


class RunFolder:
    """Paths of a run's files.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / RECIPE
        self.summary = path / SUMMARY
        self.network = path / NETWORK
        self.checkpoints = path / "checkpoints"
        self.metrics = JsonLines(path / METRICS)
        self.timings = JsonLines(path / TIMINGS)

    def check(self, recipe: Recipe, *, resume: bool) -> None:
        """Whether the run may use the folder; nothing is changed.

        Args:
            recipe: What is to be trained.
            resume: Go on with the run that is there.

        Raises:
            InputError: A new run's folder holds something, or there is nothing to resume, or another recipe's run.
        """
        if not resume:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise InputError(f"{self.path} exists: give another --out, or --resume to go on with the run in it.")
            return
        if not self.recipe.is_file():
            raise InputError(f"There is no run to resume in {self.path} (no {RECIPE}): leave out --resume.")
        if problems := differences(load(self.recipe), recipe):
            raise InputError(f"{self.recipe} is another run's; give its settings or another --out: {listed(problems)}")

    def open(self, recipe: Recipe) -> None:
        """Make the folder, or forget what an interrupted write left in it.

        Args:
            recipe: Stored beside the results, with every default.

        Raises:
            InputError: The folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.glob(f"{TEMPORARY}*"):
                leftover.unlink()
            save(recipe, self.recipe)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error}): give another --out.") from error

    def what_remains(self) -> str:
        """What a stopped run leaves.

        Returns:
            A sentence naming the newest checkpoint, if there is one.
        """
        saved = names(self.checkpoints)
        return f"The newest checkpoint is {saved[-1]}." if saved else f"There is no checkpoint in {self.path} yet."
