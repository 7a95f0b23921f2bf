"""From a recipe to the things a run is made of: data, network, blocks, model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from locallearn.datasets.batches import WHOLE, Part
from locallearn.datasets.batching import AnyBatches, augmented, evaluation_batches, training_batches
from locallearn.datasets.loading import load
from locallearn.datasets.registry import find_spec
from locallearn.datasets.sources import is_streamed
from locallearn.errors import InputError, listed
from locallearn.local_model import LocalModel
from locallearn.networks import build
from locallearn.networks.weightless import weightless
from locallearn.partitioning import partition
from locallearn.tasks.detection import transform_of
from locallearn.tasks.named import task_of
from locallearn.training.evaluation import evaluating
from locallearn.training.out_of_memory import is_out_of_memory, memory_explained
from locallearn.training.random_state import determinism_explained, is_nondeterministic

if TYPE_CHECKING:
    from locallearn.datasets.image_set import Splits
    from locallearn.datasets.spec import DatasetSpec
    from locallearn.objective import Normalization
    from locallearn.recipes.recipe import Recipe
    from locallearn.tasks import Task

ASSEMBLING = "while data and network were put together"
OUTPUTS = {
    "classification": "(2, {classes}): one per class",
    "segmentation": "(2, {classes}, height, width): one per class and place",
}
"""What a network gives for two images."""
SMALLER = "Take a smaller network or data set, or another --device."


@dataclass(frozen=True, eq=False)
class Assembly:
    """What a recipe describes, on its device.

    Args:
        spec: The data set's description.
        device: Where everything is.
        model: The partitioned network with its objectives.
        train: Training batches, augmented, in a new order every epoch.
        validation: Batches of validation images, or None.
        test: Test batches.
        notes: What the data set warned of when it was read.
    """

    spec: DatasetSpec
    device: torch.device
    model: LocalModel
    train: AnyBatches
    validation: AnyBatches | None
    test: AnyBatches
    notes: tuple[str, ...] = ()


def assemble(recipe: Recipe, *, share: Part = WHOLE) -> Assembly:
    """Read the data, build and cut the network, and check that they fit; draws from PyTorch's random state.

    Args:
        recipe: A complete run.
        share: Which part of every training batch, and which test batches, are for this process.

    Returns:
        Its parts.

    Raises:
        InputError: The data cannot be read, or data, network, cut, method and batch size do not fit each other.
        TrainingStopped: Memory ran out, or an operator has no deterministic form though the recipe asks for it.
    """
    device = find_device(recipe.device)
    with memory_explained(ASSEMBLING, remedy=SMALLER, device=device), determinism_explained():
        section = recipe.dataset
        splits, notes = _loaded(recipe)
        spec = augmented(splits.spec, section.augmentation.over(splits.spec.augmentation))
        model = build_model(recipe, spec, device)
        model.task.check_samples(model.network, splits.train)
        train, validation, test = _batches(recipe, replace(splits, spec=spec), device, share)
        if not spec.by_lists or share.count > 1:
            check_last_batch(model, train.count, recipe.training.batch_size, share.count)
        return Assembly(spec, device, model, train, validation, test, notes)


def fetch(recipe: Recipe) -> None:
    """Download what a recipe's data set lacks.

    Args:
        recipe: Data set and where it is.

    Raises:
        InputError: It cannot be had, or is damaged.
    """
    _loaded(recipe)


def recipe_spec(recipe: Recipe) -> DatasetSpec:
    """The recipe's data set as far as it is known without reading it.

    Args:
        recipe: Data set, number of outputs and augmentation.

    Returns:
        Its description.
    """
    section = recipe.dataset
    spec = find_spec(section.name).with_outputs(section.num_classes)
    return augmented(spec, section.augmentation.over(spec.augmentation))


def found_spec(recipe: Recipe) -> DatasetSpec:
    """The recipe's data set with the classes that its files have; reads no images.

    Args:
        recipe: Data set, number of outputs and augmentation.

    Returns:
        Its description; of images that are read as a whole the registered one, which they have to fit.

    Raises:
        InputError: The files are missing or not what they should be.
    """
    if not is_streamed(find_spec(recipe.dataset.name)):
        return recipe_spec(recipe)
    with warnings.catch_warnings():
        # The run that follows warns again, and notes it beside its result.
        warnings.simplefilter("ignore")
        spec = _loaded(recipe)[0].spec
    return augmented(spec, recipe.dataset.augmentation.over(spec.augmentation))


def without_weights(recipe: Recipe) -> Recipe:
    """A recipe whose network begins at random, because its weights are loaded later or do not matter.

    Args:
        recipe: Any recipe.

    Returns:
        The recipe for a network of the same layers.
    """
    section = recipe.network
    options = weightless(section.name, section.options)
    return recipe.model_copy(update={"network": section.model_copy(update={"options": options})})


def check_models(recipes: Sequence[Recipe], spec: DatasetSpec) -> None:
    """Build each recipe's model on the processor and forget it, to refuse before hours of training what does not fit.

    Args:
        recipes: Complete runs on the same data set.
        spec: The data set, see `found_spec`.

    Raises:
        InputError: Methods and networks do not fit; all are told at once.
    """
    problems = []
    for recipe in recipes:
        try:
            build_model(without_weights(recipe), spec, torch.device("cpu"))
        except InputError as error:
            problems.append(f"{recipe.method.name}: {error}")
    if problems:
        raise InputError(listed(problems))


def build_model(recipe: Recipe, spec: DatasetSpec, device: torch.device) -> LocalModel:
    """The recipe's network, cut and given its objectives.

    Args:
        recipe: Network, partition, method and memory format.
        spec: Shape, classes and normalisation of the images.
        device: Where the model goes.

    Returns:
        The model in training mode.

    Raises:
        InputError: The network does not take such images, gives another number of outputs, or cannot be cut so.
    """
    return model_of(recipe, spec, device, build(recipe.network.name, len(spec.classes), **recipe.network.options))


def model_of(recipe: Recipe, spec: DatasetSpec, device: torch.device, network: nn.Module) -> LocalModel:
    """A network that is there already, cut and given the recipe's objectives.

    Args:
        recipe: Partition, method and memory format; the network's name for messages.
        spec: Shape, classes and normalisation of the images.
        device: Where the model goes.
        network: The recipe's network.

    Returns:
        The model in training mode.

    Raises:
        InputError: See `build_model`.
    """
    task = task_of(spec)
    example = _example(network, spec)
    if not spec.by_lists:
        _check_output(network, example, task, spec, recipe.network.name)
    blocks = partition(network, example, **recipe.partition.model_dump())
    normalization, execution = _normalization(network, spec), recipe.execution.build()
    model = LocalModel(blocks, recipe.method.build(), task, normalization=normalization, execution=execution)
    if device.type != "cpu":
        model.to(device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    return model.train()


def check_last_batch(model: nn.Module, images: int, batch_size: int, processes: int = 1) -> None:
    """Whether BatchNorm has something to average in the last batch of an epoch, and every process an image.

    Args:
        model: The network with its auxiliary networks.
        images: Training images.
        batch_size: Images in every batch but the last.
        processes: Among how many every batch is divided.

    Raises:
        InputError: The last batch has a single image and the model holds BatchNorm, or a process gets too few.
    """
    last = images - (images - 1) // batch_size * batch_size
    if processes > 1:
        _check_shares(model, last, processes)
    if last != 1 or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return
    sizes = [*range(min(batch_size, images) - 1, 1, -1), *range(batch_size + 1, images + 1)]
    fitting = next((size for size in sizes if images % size != 1), None)
    remedy = "give more images" if fitting is None else f"give --batch-size {fitting}, for example"
    if images > batch_size > 1:
        remedy += ", or leave that batch out by --training.drop-last"
    raise InputError(
        f"{images} training images in batches of {batch_size} leave one image for the last batch, from which BatchNorm "
        f"cannot take a variance: {remedy}."
    )


def _check_shares(model: nn.Module, last: int, processes: int) -> None:
    normalised = any(isinstance(module, _BatchNorm) for module in model.modules())
    if last // processes < (least := 2 if normalised else 1):
        why = "two images, from which BatchNorm can take a variance," if normalised else "one image"
        raise InputError(
            f"The last batch has {last} image{'s' if last > 1 else ''}, too few to give each of {processes} processes "
            f"{why}: leave that batch out by --training.drop-last, or give a --batch-size that leaves at least "
            f"{least * processes}."
        )


def find_device(name: str) -> torch.device:
    """The device a recipe names.

    Args:
        name: `"auto"` for an accelerator if there is one, else the CPU; or any name torch knows.

    Returns:
        The device.

    Raises:
        InputError: This machine has no such device.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        # torchrun starts a process for each accelerator of a machine.
        own = None if found is None else int(os.environ.get("LOCAL_RANK", "0")) % torch.accelerator.device_count()
        return torch.device("cpu") if found is None else torch.device(found.type, own) if own else found
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if found is None or found.type != device.type or (device.index or 0) >= torch.accelerator.device_count():
        raise InputError(f"The device {name!r} is not on this machine: use --device auto or --device cpu.")
    return device


def _loaded(recipe: Recipe) -> tuple[Splits, tuple[str, ...]]:
    section = recipe.dataset
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        splits = load(
            section.name,
            recipe.data,
            download=section.download,
            validation=section.validation,
            seed=recipe.seed,
            num_classes=section.num_classes,
        )
    for each in told:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return splits, tuple(str(each.message) for each in told if each.category is UserWarning)


def _batches(
    recipe: Recipe, splits: Splits, device: torch.device, share: Part
) -> tuple[AnyBatches, AnyBatches | None, AnyBatches]:
    training, validation = recipe.training, splits.validation
    common: dict[str, Any] = {"spec": splits.spec, "device": device, "workers": recipe.dataset.workers}
    size, drop_last = training.batch_size, training.drop_last
    train = training_batches(splits.train, size, seed=recipe.seed, drop_last=drop_last, rows=share, **common)
    held_out = None if validation is None else evaluation_batches(validation, size, dealt=share, **common)
    return train, held_out, evaluation_batches(splits.test, size, dealt=share, **common)


def _example(network: nn.Module, spec: DatasetSpec) -> torch.Tensor:
    """Two images as the network's first layer reads them; a detector resizes and pads what it is given."""
    # Zeros would hide blocks in the wrong order; the global random state is the weights' alone.
    example = torch.randn(2, *spec.shape, generator=torch.Generator().manual_seed(0))
    if not spec.by_lists:
        return example
    with evaluating(network):
        images, _ = transform_of(network)(list(example.sigmoid()))
    return images.tensors


def _normalization(network: nn.Module, spec: DatasetSpec) -> Normalization:
    if not spec.by_lists:
        return spec.mean, spec.std
    transform = transform_of(network)
    return tuple(transform.image_mean), tuple(transform.image_std)


def _check_output(network: nn.Module, example: torch.Tensor, task: Task, spec: DatasetSpec, name: str) -> None:
    try:
        with evaluating(network):
            output = network(example)
    except Exception as error:  # networks say in ways of their own what they do not take
        if is_out_of_memory(error) or is_nondeterministic(error):
            raise
        taken = tuple(example.shape[1:])
        reason = str(error) or type(error).__name__
        raise InputError(
            f"The network {name!r} does not take this data set's images of shape {taken} ({reason})."
        ) from error
    logits = task.prediction(output)
    shape = type(output).__name__ if logits is None else tuple(logits.shape)
    if logits is None or len(logits) != len(example) or not task.fits(tuple(logits.shape[1:])):
        wanted = OUTPUTS[spec.task].format(classes=len(spec.classes))
        raise InputError(f"The network {name!r} gives {shape} for 2 images; it must give {wanted}.")
