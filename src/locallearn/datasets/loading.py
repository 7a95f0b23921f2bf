"""From files to tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from locallearn.datasets.arrays import DataProblems, ImageArrays, problems_in, problems_of
from locallearn.datasets.image_set import ImageSet, Splits
from locallearn.datasets.layout import SPLITS, Layout
from locallearn.datasets.registry import find_spec
from locallearn.datasets.sources import default_root, is_streamed, opened, recognise
from locallearn.datasets.spec import DatasetSpec
from locallearn.datasets.stratified import hold_out
from locallearn.errors import InputError


def load(
    name: str,
    root: Path | str | None = None,
    *,
    download: bool = False,
    validation: float = 0.0,
    seed: int = 0,
    num_classes: int | None = None,
) -> Splits:
    """A data set, checked: in memory and as a whole, or as samples that are read one by one.

    Args:
        name: One of `locallearn.datasets.registry.SPECS`.
        root: The folder or archive with its files: as its authors publish it, parquet files in the Hugging Face layout,
            or class folders; None for `data/NAME` (nothing for digits, which comes along).
        download: Whether to fetch the authors' files if there are none.
        validation: The share of the training images to hold out, the same of every class; 0 for none, or for the
            data set's own validation images. Only images in memory can be held out.
        seed: Which images are held out.
        num_classes: More outputs than the data set has classes; the rest are named 'unused-10' and so on.

    Returns:
        Training, validation and test images with the description they fit.

    Raises:
        InputError: The name is unknown, there are no files, or they are not what they should be; all problems are told.
    """
    spec = find_spec(name)
    if not 0 <= validation < 1:
        raise InputError(f"validation must be a share of the training images, from 0 to less than 1, not {validation}.")
    folder = default_root(spec, root)
    if is_streamed(spec):
        return _streamed(spec, folder, download=download, validation=validation, seed=seed, num_classes=num_classes)
    outputs = spec.with_outputs(num_classes)
    try:
        layout = recognise(spec, folder, download=download)
        arrays = _read(layout, spec, folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error}.") from error
    train, test = (_image_set(arrays[split], outputs) for split in SPLITS)
    return _with_held_out(Splits(outputs, train, None, test), validation, seed)


def _streamed(
    spec: DatasetSpec, folder: Path | None, *, download: bool, validation: float, seed: int, num_classes: int | None
) -> Splits:
    try:
        splits = opened(spec, folder, download=download)
    except OSError as error:
        raise InputError(f"{folder or spec.title} cannot be read: {error}.") from error
    return _with_held_out(replace(splits, spec=splits.spec.with_outputs(num_classes)), validation, seed)


def _with_held_out(splits: Splits, share: float, seed: int) -> Splits:
    if not share:
        return splits
    train = splits.train
    if not isinstance(train, ImageSet):
        own = "It comes with validation images of its own: set" if splits.validation is not None else "Set"
        raise InputError(
            f"dataset.validation = {share} holds out images in memory, and those of {splits.spec.name} are read one by "
            f"one. {own} dataset.validation = 0."
        )
    kept, held = (torch.from_numpy(part) for part in hold_out(train.labels.numpy(), share, seed))
    return replace(splits, train=train.select(kept), validation=train.select(held))


def _read(layout: Layout, spec: DatasetSpec, folder: Path | None) -> dict[str, ImageArrays]:
    # Both splits are read before anything is refused: all problems are told at once.
    if layout.problems:
        raise DataProblems(layout.problems)
    arrays, problems = {}, []
    for split in SPLITS:
        try:
            arrays[split] = layout.read(split)
            problems += problems_of(arrays[split], spec, f"{folder or layout.name} ({split})")
        except InputError as error:
            problems += problems_in(error)
    if problems:
        raise DataProblems(problems)
    return arrays


def _image_set(arrays: ImageArrays, spec: DatasetSpec) -> ImageSet:
    images, labels = (torch.from_numpy(np.require(array, requirements=("C", "W"))) for array in arrays)
    return ImageSet(images, labels, spec.classes)
