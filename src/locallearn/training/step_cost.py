"""What one training step of a recipe costs: bytes and arithmetic on fake tensors, time on real ones."""

from __future__ import annotations

import functools
import statistics
import tomllib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from locallearn import networks
from locallearn.benchmarking.turns import in_turns
from locallearn.engine.step_listener import Several
from locallearn.errors import InputError
from locallearn.parallel.whole_model import WholeModel
from locallearn.planning.fake_network import fake_network
from locallearn.planning.rehearsal import StepParts, ends
from locallearn.planning.step_meter import BATCH, Measurement, StepMeter, measure
from locallearn.precision import precision_context
from locallearn.recipes import checked, dumped
from locallearn.tasks.named import task_of
from locallearn.training import optimizer as optimizers
from locallearn.training.assembly import build_model, find_device, model_of, recipe_spec, without_weights
from locallearn.training.optimizer_step import OptimizerStep
from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

if TYPE_CHECKING:
    from locallearn.datasets.spec import DatasetSpec
    from locallearn.recipes.recipe import Recipe


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step.

    Args:
        peak_bytes: Largest number of bytes alive in the second step; see `bytes_alive`.
        flops: Floating-point operations of matrix products and convolutions, forward and backward.
    """

    peak_bytes: int
    flops: int


def step_cost(recipe: Recipe, spec: DatasetSpec | None = None) -> StepCost:
    """Bytes and arithmetic of one step, on fake tensors: no data, no accelerator, no waiting.

    Recipes that differ only in seed, device, precision of fp16 and bf16 or the place of the data are counted once.

    Args:
        recipe: A complete run; fp16 is counted as bf16.
        spec: The data set as it was found, where classes or shape of its images are others than the recipe says.

    Returns:
        The cost of a full batch, accumulation apart; blocks that the recipe offloads are counted as well.

    Raises:
        InputError: The task is detection, whose losses depend on what is in an image.
    """
    spec = spec or recipe_spec(recipe)
    return _counted(_settings(recipe, spec), spec)


def rehearsed_step(recipe: Recipe, spec: DatasetSpec | None = None) -> tuple[Measurement, list[int]]:
    """All that one step holds and computes, moment by moment; see `step_cost`.

    Args:
        recipe: A complete run; fp16 is counted as bf16.
        spec: See `step_cost`.

    Returns:
        The measurement, by parts of the step, the optimizer's step being in none; one past the last block of each part.

    Raises:
        InputError: The task is detection.
    """
    spec = spec or recipe_spec(recipe)
    return _rehearsed(_settings(recipe, spec), spec)


def _settings(recipe: Recipe, spec: DatasetSpec) -> str:
    if spec.by_lists:
        raise InputError("what a detector's losses compute depends on the images, and here there are none.")
    precision = "bf16" if recipe.precision == "fp16" else recipe.precision
    training = recipe.training.model_copy(update={"offload": False, "capture": False})
    apart = {"title": "", "seed": 0, "seeds": 1, "device": "cpu", "data": None, "channels_last": False}
    apart["training"] = training
    return dumped(without_weights(recipe).model_copy(update=apart | {"precision": precision}))


@functools.cache
def _counted(settings: str, spec: DatasetSpec) -> StepCost:
    # Keyed by the recipe's text, because recipes hold dictionaries.
    measured, _ = _rehearsed(settings, spec)
    return StepCost(measured.peak.total, measured.total_flops)


def _rehearsed(settings: str, spec: DatasetSpec) -> tuple[Measurement, list[int]]:
    recipe = checked(tomllib.loads(settings), where="The recipe")
    size, device, mode = recipe.training.batch_size, torch.device("cpu"), FakeTensorMode()
    named = partial(networks.build, recipe.network.name, len(spec.classes), **recipe.network.options)
    network = fake_network(named, mode, device=device)
    with mode:
        model = model_of(recipe, spec, device, network)
        optimizer = optimizers.build(model.parameter_groups(), recipe.training)
        stepping = OptimizerStep(WholeModel(model), optimizer, recipe, device)
        listener = stepping.listener

        def step(meter: StepMeter) -> None:
            inputs = torch.empty(size, *spec.shape)
            targets = model.task.blank_targets(inputs)
            meter.label(BATCH, [inputs, targets])
            stepping.listener = Several(StepParts(model, meter), listener)
            stepping.add(inputs, targets, 1)
            stepping.finish()

        return measure(step, model, optimizer), ends(model)


def time_ratios(recipes: Sequence[Recipe], spec: DatasetSpec | None = None, *, rounds: int = 7) -> list[float]:
    """Time of one step of each recipe over that of plain PyTorch on an untouched copy of the first recipe's network.

    All sides take turns within one run; each one's time is its median over the rounds.

    Args:
        recipes: Runs on the same data set, network and device.
        spec: See `step_cost`.
        rounds: Turns for each side after one to warm up.

    Returns:
        A ratio for each recipe; 1 is plain back-propagation.

    Raises:
        TrainingStopped: Memory ran out.
    """
    device = find_device(recipes[0].device)
    spec = spec or recipe_spec(recipes[0])
    size = recipes[0].training.batch_size
    inputs = torch.rand(size, *spec.shape, device=device)
    targets = task_of(spec).blank_targets(inputs)
    if recipes[0].channels_last:
        inputs = inputs.to(memory_format=torch.channels_last)
    inputs = list(inputs) if spec.by_lists else inputs
    turns = [(_plain, recipes[0]), *((_local, recipe) for recipe in recipes)]
    with memory_explained("while steps were timed", remedy=SMALLER_BATCHES, device=device):
        sides = [step(recipe, spec, inputs, targets, device) for step, recipe in turns]
        times = in_turns(sides, device, rounds=rounds)
    plain, *ours = (statistics.median(record) for record in times)
    return [time / plain for time in ours]


def _plain(recipe: Recipe, spec: DatasetSpec, inputs: Any, targets: Any, device: torch.device) -> Callable[[], None]:
    model = build_model(without_weights(recipe), spec, device)
    network, task = deepcopy(model.network), model.task
    read = network.get_submodule(model.partition.body)
    optimizer = optimizers.build({"blocks": list(network.parameters())}, recipe.training)

    def step() -> None:
        with precision_context(recipe.precision, device):
            entered, wanted = task.enter(network, inputs, targets)
            loss = task.output_loss(network, read(entered), wanted)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _local(recipe: Recipe, spec: DatasetSpec, inputs: Any, targets: Any, device: torch.device) -> Callable[[], None]:
    model = build_model(without_weights(recipe), spec, device)
    optimizer = optimizers.build(model.parameter_groups(), recipe.training)
    stepping = OptimizerStep(WholeModel(model), optimizer, recipe, device)

    def step() -> None:
        stepping.add(inputs, targets, 1)
        stepping.finish()

    return step
