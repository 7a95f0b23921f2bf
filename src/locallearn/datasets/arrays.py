"""Images and labels as a reader hands them on, and what is checked about them whatever they were read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError, listed

MOST_NAMED = 10


class DataProblems(InputError):
    """Data that cannot be used, for one reason or several.

    Args:
        problems: A sentence for each reason.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(listed(list(problems)))


class ImageArrays(NamedTuple):
    """Images (N, C, H, W) uint8 and labels (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


def problems_of(arrays: ImageArrays, spec: DatasetSpec, where: str) -> list[str]:
    """What keeps images from being used as a data set's.

    Args:
        arrays: What was read.
        spec: Whose images they should be.
        where: The path they came from, for the messages.

    Returns:
        A sentence for each problem: no images, another shape, another number of labels, labels outside the classes.
    """
    images, labels = arrays
    if not len(images):
        return [f"{where} holds no images."]
    problems = []
    if images.shape[1:] != spec.shape:
        problems.append(
            f"{where}: images are {images.shape[1:]} (channels, height, width); {spec.name} has {spec.shape}."
        )
    if len(labels) != len(images):
        problems.append(f"{where}: {len(images)} images but {len(labels)} labels.")
    outside = np.flatnonzero((labels < 0) | (labels >= len(spec.classes)))
    if len(outside):
        found = named([f"{labels[row]} at image {row}" for row in outside])
        problems.append(f"{where}: labels must be 0 to {len(spec.classes) - 1}, but there is {found}.")
    return problems


def problems_in(error: InputError) -> list[str]:
    """The problems that an error tells of.

    Args:
        error: What a reader raised.

    Returns:
        A sentence for each.
    """
    return list(error.problems) if isinstance(error, DataProblems) else [str(error)]


def named(items: Sequence[str]) -> str:
    """The first ten of many items, and how many more there are.

    Args:
        items: Paths, row numbers or the like.

    Returns:
        They, separated by commas.
    """
    more = f" and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else ""
    return ", ".join(items[:MOST_NAMED]) + more


def where_to_put(spec: DatasetSpec, folder: object, *, download: bool, more: str = "") -> str:
    """What to do where files are missing that this package does not fetch, or was not told to.

    Args:
        spec: The data set's description.
        folder: Where the files belong.
        download: Whether fetching them was asked for, in vain.
        more: Said before the hint that another folder may be named.

    Returns:
        One sentence or two.
    """
    fetched = f"{spec.title} cannot be downloaded from here. " if download else ""
    return f"{fetched}Put {spec.files} into {folder} (published at {spec.address}){more}; --data names another folder."
