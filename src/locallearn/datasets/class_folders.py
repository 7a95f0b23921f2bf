"""Data sets as folders of images: `train/CLASS/*.png` and `test/CLASS/*.png` (or .jpg, .jpeg)."""

from __future__ import annotations

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
    problems = [problem for split in SPLITS for problem in _problems(root / split, spec)]
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
        images = [path for path in _visible(folder / name) if path.suffix.lower() in SUFFIXES]
        paths += images
        labels += [label] * len(images)
    openers = [lambda path=path: path.open("rb") for path in paths]
    return ImageArrays(decode(openers, lambda index: str(paths[index]), spec), np.array(labels, np.int64))


def _problems(folder: Path, spec: DatasetSpec) -> list[str]:
    # What is wrong with one split's folders: classes missing, unknown or empty, files that are no images.
    if not folder.is_dir():
        return [f"{folder} is missing: make it with a folder for each class."]
    classes = [path.name for path in _visible(folder) if path.is_dir()]
    problems = []
    if missing := sorted(set(spec.classes) - set(classes)):
        problems.append(f"{folder} has no folder for {', '.join(missing)}.")
    if unknown := sorted(set(classes) - set(spec.classes)):
        problems.append(f"{folder} has {named(unknown)}; {spec.name} has the classes {', '.join(spec.classes)}.")
    for name in sorted(set(spec.classes) & set(classes)):
        files = _visible(folder / name)
        if not files:
            problems.append(f"{folder / name} is empty.")
        if stray := [str(path) for path in files if path.suffix.lower() not in SUFFIXES]:
            problems.append(f"Files are not {', '.join(SUFFIXES)}: convert or remove {named(stray)}.")
    return problems


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
