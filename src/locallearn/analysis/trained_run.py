"""A run as its folder shows it: recipe, logs, and the model as it was at any checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from locallearn import datasets
from locallearn.datasets.batches import epoch_order
from locallearn.datasets.batching import AnyBatches, augmented, evaluation_batches
from locallearn.datasets.image_set import ImageSet, Splits, chosen
from locallearn.datasets.registry import find_spec
from locallearn.datasets.samples import Samples
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError, command, listed
from locallearn.local_model import LocalModel
from locallearn.recipes import Recipe, load
from locallearn.recipes.recipe import ExecutionSection
from locallearn.recipes.stored import METRICS, NETWORK, RECIPE, SUMMARY, TIMINGS
from locallearn.training import checkpoint
from locallearn.training.assembly import build_model, without_weights
from locallearn.training.metrics_log import JsonLines
from locallearn.training.network_file import load_network, refuse_not_finite, stored_classes


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run's folder, finished or not; see `opened`.

    Args:
        path: The folder.
        recipe: What it was started by.
        around: How many of the folders around it belong to its name, where others are called alike.
    """

    path: Path
    recipe: Recipe
    around: int = 0

    @property
    def name(self) -> str:
        """What to call it beside other runs, as `dgl` or, of a seed, by the folder around it, too: `dgl/seed0`."""
        path = self.path.resolve()
        several = (path.parent / RECIPE).is_file()
        return "/".join(part for part in path.parts[-1 - several - self.around :] if part != path.anchor)

    @property
    def is_finished(self) -> bool:
        """Whether training has ended and left a network and a summary."""
        return (self.path / NETWORK).is_file() and (self.path / SUMMARY).is_file()

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """A record for each epoch so far; InputError if the log is damaged."""
        return _with_keys(JsonLines(self.path / METRICS).records(), self.path / METRICS, ("epoch", "step", "blocks"))

    @cached_property
    def timings(self) -> list[dict[str, Any]]:
        """Seconds of each epoch so far; InputError if the log is damaged."""
        keys = ("epoch", "training_seconds", "batches")
        return _with_keys(JsonLines(self.path / TIMINGS).records(), self.path / TIMINGS, keys)

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """What a finished run came to; None before; InputError if the file is damaged."""
        path = self.path / SUMMARY
        if not path.is_file():
            return None
        try:
            found = [json.loads(path.read_text(encoding="utf-8"))]
        except ValueError as error:
            raise InputError(f"{path} cannot be read ({error}): restore it, or leave the run out.") from None
        return _with_keys(found, path, ("seed", "epochs", "steps"))[0]

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Steps of which there are checkpoints, rising."""
        return tuple(sorted({_step(path) for path in checkpoint.names(self.path / "checkpoints")}))

    @cached_property
    def spec(self) -> DatasetSpec:
        """The data set, with the classes that the network tells apart where it has been saved."""
        section = self.recipe.dataset
        spec = find_spec(section.name).with_outputs(section.num_classes)
        return augmented(spec, section.augmentation.over(spec.augmentation))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the network tells apart, as they were saved with it; before that its data set's."""
        return (stored_classes(self.path / NETWORK) if self.is_finished else ()) or self.spec.classes

    def model(self, device: torch.device, *, step: int | None = None, heads: bool = False) -> LocalModel:
        """The network with its blocks and objectives, in evaluation mode.

        Args:
            device: Where it goes.
            step: Of which checkpoint; None takes the finished network, or the newest checkpoint of a run under way.
            heads: Whether the auxiliary networks are needed too, which checkpoints alone have.

        Returns:
            The model, carried out plainly however it was trained; without `heads`, auxiliary networks may be fresh
            ones.

        Raises:
            InputError: There is no such checkpoint, or it is damaged or another network's.
        """
        recipe = without_weights(self.recipe).model_copy(update={"execution": ExecutionSection()})
        model = build_model(recipe, self.spec, device)
        if step is None and not heads and self.is_finished:
            load_network(model.network, self.path / NETWORK)
        else:
            folder = self._checkpoint(step)
            for module, part in ((model.network, "network"), (model.objectives, "objectives")):
                try:
                    module.load_state_dict(checkpoint.load_part(folder, part))
                except RuntimeError as error:
                    raise InputError(f"The checkpoint {folder} holds another network or method: {error}") from None
        where = "The network" if step is None else f"The network of step {step}"
        refuse_not_finite(model.network, f"{where} of {str(self.path)!r}")
        return model.eval()

    def splits(self, data: Path | None = None) -> Splits:
        """The run's images, as they were divided for it.

        Args:
            data: Where they are; None looks where the run did.

        Returns:
            Training, validation and test images.

        Raises:
            InputError: They cannot be read, or have other classes than the network tells apart.
        """
        section = self.recipe.dataset
        common: dict[str, Any] = {"validation": section.validation, "num_classes": section.num_classes}
        found = datasets.load(section.name, data or self.recipe.data, seed=self.recipe.seed, **common)
        if self.is_finished and (own := stored_classes(self.path / NETWORK)) and own != found.spec.classes:
            raise InputError(
                f"The network of {str(self.path)!r} tells {len(own)} classes apart ({', '.join(own[:3])}, ...), and "
                f"the data has {len(found.spec.classes)} ({', '.join(found.spec.classes[:3])}, ...): give the data "
                "that it was trained on by --data."
            )
        return found

    def batches(
        self,
        part: ImageSet | Samples,
        device: torch.device,
        *,
        count: int | None = None,
        batch_size: int = 500,
        seed: int = 0,
        order: int | None = None,
    ) -> AnyBatches:
        """Batches as the network is tested on them.

        Args:
            part: Of `splits()`.
            device: Where batches are wanted.
            count: So many images, drawn without putting back; all if None.
            batch_size: Images per batch.
            seed: Of the draw.
            order: Which random order the images come in; None leaves them in the set's own, which may be by class.

        Returns:
            The batches.
        """
        if order is not None or (count is not None and count < len(part)):
            drawn = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:count]
            part = chosen(part, drawn.sort().values if order is None else drawn[epoch_order(len(drawn), seed, order)])
        return evaluation_batches(part, batch_size, spec=self.spec, device=device)

    def _checkpoint(self, step: int | None) -> Path:
        folder = self.path / "checkpoints"
        if step is None:
            found = checkpoint.names(folder)[-1:]
            if not found:
                raise InputError(f"There is no checkpoint in {folder}: let the run train for an epoch at least.")
            return _sound(found[0])
        found = next((path for path in reversed(checkpoint.names(folder)) if _step(path) == step), None)
        if found is None:
            known = ", ".join(map(str, self.steps)) or "none"
            raise InputError(f"{str(self.path)!r} has no checkpoint of step {step}; there are: {known}.")
        return _sound(found)


def opened(path: Path) -> TrainedRun:
    """A run to look into.

    Args:
        path: Its folder.

    Returns:
        The run.

    Raises:
        InputError: The folder holds no run, or several.
    """
    found = opened_all([path])
    if len(found) > 1:
        raise InputError(f"{str(path)!r} holds {len(found)} runs: give one of them, such as {found[0].path}.")
    return found[0]


def opened_all(paths: Sequence[Path]) -> list[TrainedRun]:
    """Runs to look into; a folder of several seeds stands for all of them.

    Args:
        paths: Folders.

    Returns:
        The runs in that order.

    Raises:
        InputError: A folder holds no run or none yet, or is named twice.
    """
    found: list[TrainedRun] = []
    problems = [
        f"{str(path)!r} holds no run ({RECIPE} is missing): give the folder that training wrote."
        for path in paths
        if not (path / RECIPE).is_file()
    ]
    if problems:
        raise InputError(listed(problems))
    for path in paths:
        recipe = load(path / RECIPE)
        if recipe.seeds == 1:
            found.append(TrainedRun(path, recipe))
        else:
            own = [TrainedRun(each.parent, load(each)) for each in path.glob(f"seed*/{RECIPE}")]
            if not own:
                raise InputError(f"{str(path)!r} is of {recipe.seeds} seeds, and none has begun: let it train first.")
            found += sorted(own, key=lambda run: (run.recipe.seed, run.path.name))
    names = [run.path.resolve() for run in found]
    if twice := [str(name) for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InputError(f"Runs are named twice: {', '.join(twice)}.")
    return _told_apart(found)


def _with_keys(records: list[Any], path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    for line, record in enumerate(records, 1):
        missing = [key for key in keys if not isinstance(record, dict) or key not in record]
        if missing:
            raise InputError(
                f"Line {line} of {path} has no {' and no '.join(missing)}: restore the file, or leave the run out."
            )
    return records


def _told_apart(runs: Sequence[TrainedRun]) -> list[TrainedRun]:
    found = list(runs)
    while alike := {name for name, count in Counter(run.name for run in found).items() if count > 1}:
        found = [replace(run, around=run.around + 1) if run.name in alike else run for run in found]
    return found


def _sound(path: Path) -> Path:
    if problems := checkpoint.damage(path):
        remedy = command("train", "--resume", path.parent.parent, "--fall-back")
        raise InputError(f"The checkpoint {path} is damaged; {remedy} sets it aside. {listed(problems)}")
    return path


def _step(path: Path) -> int:
    match = checkpoint.NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])
