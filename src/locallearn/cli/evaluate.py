"""Measure the test accuracy of a finished run again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from locallearn.cli import runs
from locallearn.cli.flags import Json, parsed
from locallearn.cli.tables import print_rows
from locallearn.datasets.registry import find_spec
from locallearn.errors import InputError
from locallearn.recipes import Recipe
from locallearn.recipes.choices import checked_device
from locallearn.recipes.stored import NETWORK

if TYPE_CHECKING:
    from torch import nn

RunFolder = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(help="Folder of a run.")]]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Classify the test images by the network of a finished run.

    Args:
        on: Another data set to test on, such as stl10 for a run on CIFAR-10; classes are matched by name.
        data: Where the images are; none looks where the run did, or in data/NAME with `on`.
        device: Where to compute: auto, cpu, cuda, cuda:1, mps.
        batch_size: Images per batch.
    """

    run: RunFolder
    on: str | None = None
    data: Path | None = None
    device: str = "auto"
    batch_size: int = 500
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Evaluate, and print the accuracy.

    Args:
        argv: Words after `evaluate`.

    Returns:
        The exit code.

    Raises:
        InputError: There is no finished run, no data or no such device.
        TrainingStopped: Memory ran out.
    """
    options = parsed(Evaluate, argv, verb="evaluate")
    recipe = finished_recipe(options.run)
    if options.on is not None:
        return _run_on(options, options.on, recipe)
    from locallearn import datasets
    from locallearn.datasets.batches import Batches
    from locallearn.training import evaluate
    from locallearn.training.assembly import find_device
    from locallearn.training.out_of_memory import memory_explained

    device = find_device(checked_device(options.device))
    section = recipe.dataset
    activity = f"while batches of {options.batch_size} were classified"
    with memory_explained(activity, remedy="Give a smaller --batch-size.", device=device):
        splits = datasets.load(section.name, options.data or recipe.data, num_classes=section.num_classes)
        network, _ = trained_network(options.run, recipe, len(splits.spec.classes))
        common = {"spec": splits.spec, "device": device, "augmentation": None, "shuffle": False}
        batches = Batches(splits.test, options.batch_size, seed=recipe.seed, **common)
        accuracy = evaluate(network.to(device), batches)
    result = {"test_accuracy": accuracy.percent, "test_error": accuracy.error, "images": accuracy.count}
    print_rows([result])
    if options.json:
        print(json.dumps(result | {"run": str(options.run)}))
    return 0


def _run_on(options: Evaluate, on: str, recipe: Recipe) -> int:
    from locallearn.cli.evaluate_on import readings, transferred
    from locallearn.training.assembly import find_device
    from locallearn.training.out_of_memory import memory_explained

    device = find_device(checked_device(options.device))
    activity = f"while batches of {options.batch_size} were classified"
    with memory_explained(activity, remedy="Give a smaller --batch-size.", device=device):
        trained_on = find_spec(recipe.dataset.name).with_outputs(recipe.dataset.num_classes)
        network, classes = trained_network(options.run, recipe, len(trained_on.classes))
        common = {"batch_size": options.batch_size, "device": device}
        result = transferred(network.to(device), classes, recipe, on, options.data, **common)
    print_rows(readings(result))
    if options.json:
        print(json.dumps(result | {"run": str(options.run)}))
    return 0


def finished_recipe(run: Path) -> Recipe:
    """The recipe of a run whose network has been saved.

    Args:
        run: Folder of the run.

    Returns:
        Its recipe.

    Raises:
        InputError: The folder holds no run, several runs, or one that has not ended.
    """
    recipe = runs.stored_recipe(run)
    if recipe.seeds > 1:
        raise InputError(
            f"{str(run)!r} holds {recipe.seeds} runs: give one of them, such as {run / f'seed{recipe.seed}'}."
        )
    if not (run / NETWORK).is_file():
        raise InputError(
            f"The run in {str(run)!r} has no network yet: go on with it by locallearn train --resume {run}."
        )
    return recipe


def trained_network(run: Path, recipe: Recipe, num_classes: int) -> tuple[nn.Module, tuple[str, ...]]:
    """The network of a finished run.

    Args:
        run: Folder of the run.
        recipe: Its recipe.
        num_classes: Number of outputs.

    Returns:
        The plain network with the saved weights, in evaluation mode, and the class names.

    Raises:
        InputError: The network cannot be built, or the saved weights are another one's.
    """
    from locallearn.networks import build
    from locallearn.training.network_file import load_network

    network = build(recipe.network.name, num_classes, **recipe.network.options)
    classes = load_network(network, run / NETWORK)
    return network.eval(), classes
