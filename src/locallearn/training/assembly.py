"""From a recipe to the things a run is made of: data, network, blocks, model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from locallearn.datasets.batches import Batches
from locallearn.datasets.loading import load
from locallearn.errors import InputError
from locallearn.local_model import LocalModel
from locallearn.networks import build
from locallearn.partitioning import partition
from locallearn.tasks import Classification
from locallearn.training.evaluation import evaluating
from locallearn.training.out_of_memory import is_out_of_memory, memory_explained
from locallearn.training.random_state import determinism_explained, is_nondeterministic

if TYPE_CHECKING:
    from locallearn.datasets.image_set import Splits
    from locallearn.datasets.spec import DatasetSpec
    from locallearn.recipes.recipe import Recipe

ASSEMBLING = "while data and network were put together"
SMALLER = "Take a smaller network or data set, or another --device."


@dataclass(frozen=True, eq=False)
class Assembly:
    """What a recipe describes, on its device.

    Args:
        spec: The data set's description.
        device: Where everything is.
        model: The partitioned network with its objectives.
        train: Training batches, augmented, in a new order every epoch.
        validation: Batches held out of the training images, or None.
        test: Test batches.
    """

    spec: DatasetSpec
    device: torch.device
    model: LocalModel
    train: Batches
    validation: Batches | None
    test: Batches


def assemble(recipe: Recipe) -> Assembly:
    """Read the data, build and cut the network, and check that they fit; draws from PyTorch's random state.

    Args:
        recipe: A complete run.

    Returns:
        Its parts.

    Raises:
        InputError: The data cannot be read, or data, network, cut, method and batch size do not fit each other.
        TrainingStopped: Memory ran out, or an operator has no deterministic form though the recipe asks for it.
    """
    device = find_device(recipe.device)
    with memory_explained(ASSEMBLING, remedy=SMALLER, device=device), determinism_explained():
        section = recipe.dataset
        splits = load(
            section.name,
            recipe.data,
            download=section.download,
            validation=section.validation,
            seed=recipe.seed,
            num_classes=section.num_classes,
        )
        model = build_model(recipe, splits.spec, device)
        check_last_batch(model, len(splits.train), recipe.training.batch_size)
        return Assembly(splits.spec, device, model, *_batches(recipe, splits, device))


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
    classes = len(spec.classes)
    network = build(recipe.network.name, classes, **recipe.network.options)
    # Zeros would hide blocks in the wrong order; the global random state is the weights' alone.
    example = torch.randn(2, *spec.shape, generator=torch.Generator().manual_seed(0))
    _check_output(network, example, classes, recipe.network.name)
    blocks = partition(network, example, **recipe.partition.model_dump())
    task = Classification(classes)
    execution = recipe.execution.build()
    model = LocalModel(blocks, recipe.method.build(), task, normalization=(spec.mean, spec.std), execution=execution)
    if device.type != "cpu":
        model.to(device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    return model.train()


def check_last_batch(model: nn.Module, images: int, batch_size: int) -> None:
    """Whether BatchNorm has something to average in the last batch of an epoch.

    Args:
        model: The network with its auxiliary networks.
        images: Training images.
        batch_size: Images in every batch but the last.

    Raises:
        InputError: The last batch has a single image and the model holds BatchNorm.
    """
    last = images - (images - 1) // batch_size * batch_size
    if last != 1 or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return
    sizes = [*range(min(batch_size, images) - 1, 1, -1), *range(batch_size + 1, images + 1)]
    fitting = next((size for size in sizes if images % size != 1), None)
    remedy = "give more images" if fitting is None else f"give --batch-size {fitting}, for example"
    raise InputError(
        f"{images} training images in batches of {batch_size} leave one image for the last batch, from which BatchNorm "
        f"cannot take a variance: {remedy}."
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
        return found or torch.device("cpu")
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if found is None or found.type != device.type or (device.index or 0) >= torch.accelerator.device_count():
        raise InputError(f"The device {name!r} is not on this machine: use --device auto or --device cpu.")
    return device


def _batches(recipe: Recipe, splits: Splits, device: torch.device) -> tuple[Batches, Batches | None, Batches]:
    common = {"spec": splits.spec, "seed": recipe.seed, "device": device}
    size = recipe.training.batch_size
    augmentation = recipe.dataset.augmentation.over(splits.spec.augmentation)
    train = Batches(splits.train, size, augmentation=augmentation, shuffle=True, **common)
    test = Batches(splits.test, size, augmentation=None, shuffle=False, **common)
    if splits.validation is None:
        return train, None, test
    return train, Batches(splits.validation, size, augmentation=None, shuffle=False, **common), test


def _check_output(network: nn.Module, example: torch.Tensor, classes: int, name: str) -> None:
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
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (len(example), classes):
        raise InputError(
            f"The network {name!r} gives {shape} for 2 images; it must give (2, {classes}): one per class."
        )
