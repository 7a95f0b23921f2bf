"""Test the network of a finished run again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from locallearn.cli import runs
from locallearn.cli.flags import Json, parsed
from locallearn.cli.tables import print_rows
from locallearn.datasets.registry import find_spec
from locallearn.datasets.sources import is_streamed
from locallearn.errors import InputError, command, listed
from locallearn.recipes import Recipe
from locallearn.recipes.choices import checked_device
from locallearn.recipes.stored import NETWORK

if TYPE_CHECKING:
    import torch
    from torch import nn

    from locallearn.datasets.spec import DatasetSpec
    from locallearn.metrics import Metric

BATCH_SIZE = 500
RunFolder = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(help="Folder of a run.")]]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Test the network of a finished run on the test images.

    Args:
        on: Another data set to test on, such as stl10 for a run on CIFAR-10; classes are matched by name.
        classes: With `on`, a TOML file that says which class stands for which, where names differ: lines such as
            car = "automobile", the tested class first; classes left out count as not trained on.
        data: Where the images are; none looks where the run did, or in data/NAME with `on`.
        device: Where to compute: auto, cpu, cuda, cuda:1, mps.
        batch_size: Images per batch; none takes 500, or the run's own where images are read one by one.
        workers: Processes that decode images which are read one by one; none takes the run's.
        scales: Sizes, over the image's own, whose predictions are averaged; for segmentation, such as 0.5 0.75 1 1.25.
        flip: Whether predictions of mirrored images are averaged in; for segmentation.
    """

    run: RunFolder
    on: str | None = None
    classes: Path | None = None
    data: Path | None = None
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Evaluate, and print what came of it.

    Args:
        argv: Words after `evaluate`.

    Returns:
        The exit code.

    Raises:
        InputError: There is no finished run, no data or no such device.
        TrainingStopped: Memory ran out.
    """
    options = parsed(Evaluate, argv, verb="evaluate")
    _check(options)
    recipe = finished_recipe(options.run)
    if options.on is not None:
        return _run_on(options, options.on, recipe)
    from locallearn.training.assembly import find_device
    from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

    device = find_device(checked_device(options.device))
    size = options.batch_size or (
        recipe.training.batch_size if is_streamed(find_spec(recipe.dataset.name)) else BATCH_SIZE
    )
    done = "classified" if find_spec(recipe.dataset.name).task == "classification" else "tested"
    activity = f"while batches of {size} were {done}"
    with memory_explained(activity, remedy=SMALLER_BATCHES, device=device):
        result = _results(options, recipe, size, device)
    print_rows([{name: value for name, value in result.items() if name != "by_class"}])
    if options.json:
        print(json.dumps(result | {"run": str(options.run)}))
    return 0


def _check(options: Evaluate) -> None:
    problems = []
    if options.batch_size is not None and options.batch_size < 1:
        problems.append(f"--batch-size must be at least 1, not {options.batch_size}.")
    if options.workers is not None and options.workers < 0:
        problems.append(f"--workers must be at least 0, not {options.workers}.")
    given = {"--scales": options.scales != (1.0,), "--flip": options.flip, "--workers": options.workers is not None}
    useless = [flag for flag, is_given in given.items() if is_given]
    if options.on is not None and useless:
        problems.append(f"--on tests on whole images in memory, as they are: leave {' and '.join(useless)} out.")
    if options.classes is not None and options.on is None:
        problems.append("--classes maps another data set's classes: say which by --on.")
    if problems:
        raise InputError(listed(problems))


def _results(options: Evaluate, recipe: Recipe, batch_size: int, device: torch.device) -> dict[str, Any]:
    from locallearn import datasets
    from locallearn.datasets.batching import augmented, closed_after, evaluation_batches
    from locallearn.tasks.named import task_of
    from locallearn.training import evaluate

    section = recipe.dataset
    splits = datasets.load(section.name, options.data or recipe.data, num_classes=section.num_classes)
    spec = augmented(splits.spec, section.augmentation.over(splits.spec.augmentation))
    network, classes = trained_network(options.run, recipe)
    if classes != spec.classes:
        raise InputError(
            f"The run's network tells {_some(classes)} apart, and the data has {_some(spec.classes)}: give data of the "
            "classes that it was trained on by --data."
        )
    workers = section.workers if options.workers is None else options.workers
    batches = evaluation_batches(splits.test, batch_size, spec=spec, device=device, workers=workers)
    metric = task_of(spec).metric()
    with closed_after(batches):
        results = evaluate(_averaged(network, options, spec).to(device), batches, metric)
    found: dict[str, Any] = {f"test_{name}": value for name, value in results.items()}
    if "test_accuracy" in found:
        found |= {"test_error": round(100 - found["test_accuracy"], 10)}
    return found | {"images": batches.count} | _by_class(metric, classes)


def _averaged(network: nn.Module, options: Evaluate, spec: DatasetSpec) -> nn.Module:
    if options.scales == (1.0,) and not options.flip:
        return network
    if spec.task != "segmentation":
        raise InputError(f"--scales and --flip average maps of classes, and {spec.name} is for {spec.task}.")
    from locallearn.tasks.multi_scale import MultiScale

    return MultiScale(network, options.scales, options.flip).eval()


def _by_class(metric: Metric, classes: Sequence[str]) -> dict[str, Any]:
    counted = metric.by_class()
    return {"by_class": {name: _known(values, classes) for name, values in counted.items()}} if counted else {}


def _known(values: Sequence[float], classes: Sequence[str]) -> dict[str, float | None]:
    # JSON has no NaN.
    pairs = zip(classes, values, strict=True)
    return {name: None if math.isnan(value) else value for name, value in pairs}


def _some(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''})"


def _run_on(options: Evaluate, on: str, recipe: Recipe) -> int:
    from locallearn.analysis import opened
    from locallearn.cli.evaluate_on import read_class_map, readings, transferred
    from locallearn.cli.looking import kept
    from locallearn.training.assembly import find_device
    from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

    device = find_device(checked_device(options.device))
    size = options.batch_size or BATCH_SIZE
    class_map = None if options.classes is None else read_class_map(options.classes)
    activity = f"while batches of {size} were classified"
    with memory_explained(activity, remedy=SMALLER_BATCHES, device=device):
        network, classes = trained_network(options.run, recipe)
        common: dict[str, Any] = {"class_map": class_map, "batch_size": size, "device": device}
        result = transferred(network.to(device), classes, recipe, on, options.data, **common)
    name = f"transfer-{on}" if class_map is None else f"transfer-{on}-mapped"
    kept(opened(options.run), name, result, settings={"batch_size": size, "class_map": class_map})
    print_rows(readings(result))
    print(f"\nimages of {on} brought to the network's size and channels: {result['resizing']}")
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
        raise InputError(f"The run in {str(run)!r} has no network yet: go on with it by {_go_on(run)}.")
    return recipe


def _go_on(run: Path) -> str:
    return command("train", "--resume", run)


def trained_network(run: Path, recipe: Recipe) -> tuple[nn.Module, tuple[str, ...]]:
    """The network of a finished run.

    Args:
        run: Folder of the run.
        recipe: Its recipe.

    Returns:
        The plain network with the saved weights, in evaluation mode, and the names of its outputs.

    Raises:
        InputError: The network cannot be built, or the saved weights are another one's.
    """
    from locallearn.networks import build
    from locallearn.networks.weightless import weightless
    from locallearn.training.network_file import load_network, refuse_not_finite, stored_classes

    classes = stored_classes(run / NETWORK)
    if not classes:
        raise InputError(f"{run / NETWORK} names no classes, so something else wrote it: {_go_on(run)} restores it.")
    name, options = recipe.network.name, recipe.network.options
    network = build(name, len(classes), **weightless(name, options))
    load_network(network, run / NETWORK)
    refuse_not_finite(network, f"The network of {str(run)!r}")
    return network.eval(), classes
