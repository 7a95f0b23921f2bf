"""Data sets as folders of images: `train/CLASS/*.png` and `test/CLASS/*.png` (or .jpg, .jpeg)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from locallearn.datasets.arrays import ImageArrays, named
from locallearn.datasets.decode import SUFFIXES, decode
from locallearn.datasets.layout import SPLITS, Layout
from locallearn.datasets.spec import DatasetSpec


def find(root: Path, spec: DatasetSpec) -> Layout | None:
    """Class folders in a folder; whatever is hidden (its name starts with a dot) is ignored.

    Args:
        root: The folder.
        spec: The data set they should hold.

    Returns:
        The layout, or None if there is neither `train` nor `test`.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        return None
    folders = {split: (root / split,) for split in SPLITS}
    problems = [problem for split in SPLITS for problem in problems_of_folder(root / split, spec)]
    return Layout("class folders", folders, lambda split: read(root / split, spec), problems=tuple(problems))


def read(folder: Path, spec: DatasetSpec) -> ImageArrays:
    """The images of one split, class by class, by name within a class.

    Args:
        folder: Holds a folder for each class.
        spec: The data set they should hold.

    Returns:
        Images and labels; labels follow the data set's order of classes, not the alphabet.

    Raises:
        InputError: Images cannot be decoded; up to ten paths are named.
    """
    paths, labels = [], []
    for label, name in enumerate(spec.classes):
        images = image_names(folder / name)
        paths += [folder / name / image for image in images]
        labels += [label] * len(images)
    openers = [lambda path=path: path.open("rb") for path in paths]
    return ImageArrays(decode(openers, lambda index: str(paths[index]), spec), np.array(labels, np.int64))


def problems_of_folder(folder: Path, spec: DatasetSpec) -> list[str]:
    """What is wrong with one split's folders.

    Args:
        folder: Should hold a folder for each class.
        spec: The data set they should hold.

    Returns:
        A sentence for each problem: the folder or classes missing, classes unknown or empty, files that are no images.
    """
    if not folder.is_dir():
        return [f"{folder} is missing: make it with a folder for each class."]
    classes = folder_names(folder)
    problems = []
    if missing := sorted(set(spec.classes) - set(classes)):
        problems.append(f"{folder} has no folder for {named(missing)}.")
    if unknown := sorted(set(classes) - set(spec.classes)):
        problems.append(f"{folder} has {named(unknown)}; {spec.name} has the classes {', '.join(spec.classes)}.")
    stray = []
    for name in sorted(set(spec.classes) & set(classes)):
        files = _visible(folder / name)
        if not files:
            problems.append(f"{folder / name} is empty.")
        stray += [str(folder / name / file) for file in files if not _is_image(file)]
    if stray:
        problems.append(f"Files are not {', '.join(SUFFIXES)}: convert or remove {named(stray)}.")
    return problems


def folder_names(folder: Path) -> list[str]:
    """The folders in a folder.

    Args:
        folder: Perhaps missing.

    Returns:
        Their names in order, without hidden ones.
    """
    return [name for name in _visible(folder) if (folder / name).is_dir()]


def image_names(folder: Path) -> list[str]:
    """The images in a folder, by their suffix.

    Args:
        folder: Perhaps missing.

    Returns:
        Their names in order, without hidden ones.
    """
    return [name for name in _visible(folder) if _is_image(name)]


def _visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(".")) if folder.is_dir() else []


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
