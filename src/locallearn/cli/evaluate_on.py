"""Test the network of a finished run on another data set than the one it was trained on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.datasets.registry import find_spec
from locallearn.errors import InputError, listed
from locallearn.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

RESIZING = "bilinear with antialiasing, as torchvision's Resize"


def transferred(
    network: nn.Module,
    classes: tuple[str, ...],
    recipe: Recipe,
    on: str,
    data: Path | None,
    *,
    class_map: Mapping[str, str] | None = None,
    batch_size: int,
    device: torch.device,
) -> dict[str, Any]:
    """What a trained network makes of another data set's test images.

    Args:
        network: On `device`.
        classes: The class names that were saved with it; none takes its data set's.
        recipe: By which it was trained.
        on: Name of the other data set.
        data: Where its files are; None looks in `data/NAME`.
        class_map: See `locallearn.training.transfer.transfer`.
        batch_size: Images per batch.
        device: Where to compute.

    Returns:
        The readings (`locallearn.training.transfer.Transfer.results`), the mapping of the classes, how images were
        brought to size, and what papers print for the recipe.

    Raises:
        InputError: The data sets are the same, are not both of whole images to classify, share no class, `class_map`
            names classes that are not there, or there are no files.
    """
    from locallearn import datasets
    from locallearn.datasets.image_set import ImageSet
    from locallearn.training.transfer import transfer

    trained_on = find_spec(recipe.dataset.name).with_outputs(recipe.dataset.num_classes)
    if on == trained_on.name:
        raise InputError(f"The run was trained on {on}: leave --on out to test on its own test images.")
    test = datasets.load(on, data).test
    if trained_on.task != "classification" or not isinstance(test, ImageSet):
        raise InputError(
            f"A network trained on {trained_on.name} cannot be tested on {on}: both must be small images to classify."
        )
    trained_on = replace(trained_on, classes=classes or trained_on.classes)
    common: dict[str, Any] = {"class_map": class_map, "batch_size": batch_size, "device": device}
    found = transfer(network, test, trained_on=trained_on, **common)
    outputs = zip(test.classes, found.outputs, strict=True)
    return found.results() | {
        "on": on,
        "trained_on": trained_on.name,
        "resizing": RESIZING,
        "mapped_by": "name" if class_map is None else "file",
        "mapping": {name: None if output is None else trained_on.classes[output] for name, output in outputs},
        "published": [
            {"accuracy": number.value, "where": f"{number.paper}, {number.where}"}
            for number in recipe.published
            if number.name == f"{on}_accuracy"
        ],
    }


def read_class_map(path: Path) -> dict[str, str]:
    """A map of classes from a file: `class of the tested images = "class that was trained on"`, a line for each.

    Args:
        path: A TOML file without tables; names with spaces or commas are quoted.

    Returns:
        The pairs.

    Raises:
        InputError: There is no such file, it is no TOML, is empty or holds something else than names.
    """
    try:
        pairs = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The class map {str(path)!r} cannot be read: {error}.") from error
    problems = [
        f'{str(path)!r} gives {tested!r} the value {trained!r}: write {tested} = "CLASS", a class trained on.'
        for tested, trained in pairs.items()
        if not isinstance(trained, str)
    ]
    if not pairs:
        problems.append(f'{str(path)!r} maps no class: write lines such as car = "automobile".')
    if problems:
        raise InputError(listed(problems))
    return pairs


def readings(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The result as a table.

    Args:
        result: What `transferred` returned.

    Returns:
        A row for each way of counting, and for each number that papers print.
    """
    without = ", ".join(name for name, output in result["mapping"].items() if output is None)
    how = f"classes mapped by {result['mapped_by']}"
    known = result["images"] - result["images_without_class"]
    counted = [(how, known, "mapped_accuracy")]
    if without:
        counted = [
            (f"{how}, {without} left out", known, "mapped_accuracy"),
            (f"{how}, {without} counted wrong", result["images"], "mapped_accuracy_of_all"),
        ]
    counted.append(("raw: label = index of the output", result["images"], "raw_accuracy"))
    rows = [{"reading": words, "images": count, "accuracy": result[name]} for words, count, name in counted]
    published = result["published"]
    return rows + [
        {"reading": f"published ({number['where']})", "images": "", "accuracy": number["accuracy"]}
        for number in published
    ]
