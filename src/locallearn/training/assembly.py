"""From a recipe to the things a run is made of: data, network, blocks, model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from locallearn.datasets.batches import Batches
from locallearn.datasets.loading import load
from locallearn.errors import InputError
from locallearn.local_model import LocalModel
from locallearn.networks import build
from locallearn.partitioning import partition
from locallearn.tasks import Classification
from locallearn.training.evaluation import evaluating

if TYPE_CHECKING:
    from locallearn.datasets.description import DatasetSpec
    from locallearn.recipes.recipe import Recipe


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
        InputError: The data cannot be read, or data, network, cut and method do not fit each other.
    """
    device = find_device(recipe.device)
    section = recipe.dataset
    splits = load(
        section.name,
        recipe.data,
        download=section.download,
        validation=section.validation,
        seed=recipe.seed,
        num_classes=section.num_classes,
    )
    spec = splits.spec
    model = build_model(recipe, spec, device)
    common = {"spec": spec, "seed": recipe.seed, "device": device}
    size = recipe.training.batch_size
    augmentation = section.augmentation.over(spec.augmentation)
    train = Batches(splits.train, size, augmentation=augmentation, shuffle=True, **common)
    test = Batches(splits.test, size, augmentation=None, shuffle=False, **common)
    validation = None
    if splits.validation is not None:
        validation = Batches(splits.validation, size, augmentation=None, shuffle=False, **common)
    return Assembly(spec, device, model, train, validation, test)


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
    example = torch.zeros(2, *spec.shape)
    _check_output(network, example, classes, recipe.network.name)
    blocks = partition(network, example, **recipe.partition.model_dump())
    task = Classification(classes)
    model = LocalModel(blocks, recipe.method.build(), task, normalization=(spec.mean, spec.std))
    if device.type != "cpu":
        model.to(device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    return model.train()


def find_device(name: str) -> torch.device:
    """The device a recipe names.

    Args:
        name: `"auto"` for an accelerator if there is one, else the CPU; or any name torch knows.

    Returns:
        The device.

    Raises:
        InputError: This machine has no such device.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    device = torch.device(name)
    if device.type != "cpu" and not _present(device):
        raise InputError(f"device {name!r} is not on this machine: use --device auto or --device cpu.")
    return device


def _present(device: torch.device) -> bool:
    found = torch.accelerator.current_accelerator(check_available=True)
    return found is not None and found.type == device.type and (device.index or 0) < torch.accelerator.device_count()


def _check_output(network: nn.Module, example: torch.Tensor, classes: int, name: str) -> None:
    try:
        with evaluating(network):
            output = network(example)
    except (RuntimeError, ValueError, TypeError) as error:
        taken = tuple(example.shape[1:])
        raise InputError(f"network {name!r} does not take this data set's images of shape {taken}: {error}") from error
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (len(example), classes):
        raise InputError(f"network {name!r} gives {shape} for 2 images; it must give (2, {classes}): one per class.")
