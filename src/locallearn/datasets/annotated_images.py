"""Images with a map of class ids each, decoded when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from locallearn.datasets.arrays import named
from locallearn.datasets.decode import FORMATS, UNREADABLE
from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

VOID = 255
"""The label of pixels that do not count."""
_UNKNOWN = -1
_MOST_PIXELS = 2**26


class Encoded(NamedTuple):
    """An image file, on disk or in memory; `content` is None where it is missing."""

    name: str
    content: bytes | Path | None

    def open(self) -> BinaryIO:
        """Its bytes as a file.

        Returns:
            A file to read and close.

        Raises:
            ValueError: There are none.
        """
        if self.content is None:
            raise ValueError("it is missing")
        return self.content.open("rb") if isinstance(self.content, Path) else io.BytesIO(self.content)


class Annotated(NamedTuple):
    """An image and its map of ids."""

    image: Encoded
    mask: Encoded


class AnnotatedImages:
    """A split of a segmentation data set.

    Args:
        classes: The class names.
        samples: Images (8-bit colour) and maps of the same size (8-bit ids), as PNG or JPEG.
        label_of: The label of every id that maps may hold: an index into `classes`, or `VOID`.
    """

    def __init__(self, classes: tuple[str, ...], samples: Sequence[Annotated], label_of: Mapping[int, int]) -> None:
        self.classes = classes
        self._samples = tuple(samples)
        self._labels = np.full(256, _UNKNOWN, np.int64)
        self._labels[list(label_of)] = list(label_of.values())

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One image and its labels.

        Args:
            index: Which one, from 0.

        Returns:
            The image, (3, H, W) uint8, and a label for each pixel, (H, W) int64.

        Raises:
            InputError: They cannot be decoded, are of another kind or size, or an id has no label; files are named.
        """
        import torch

        image, mask = self._samples[index]
        size = _size_of(image, None)
        _size_of(mask, size)
        labels = self._labels[_pixels(mask)]
        if (labels == _UNKNOWN).any():
            raise InputError(f"{mask.name} holds {self._strangers(mask)}; {self._legal()}")
        pixels = np.ascontiguousarray(_pixels(image).transpose(2, 0, 1))
        return torch.from_numpy(pixels), torch.from_numpy(labels)

    def problems(self) -> list[str]:
        """What is wrong with the files, as far as it is cheap to see.

        The headers of all files are read, and the ids of as many maps, evenly spread, as make 64 million pixels.

        Returns:
            A sentence for each kind of problem, with up to ten files.
        """
        bad, sizes = [], []
        for image, mask in self._samples:
            try:
                sizes.append(_size_of(image, None))
                _size_of(mask, sizes[-1])
            except InputError as error:
                bad.append(str(error).removesuffix("."))
        found = [f"{len(bad)} of {len(self)} images or their maps cannot be used: {named(bad)}."] if bad else []
        return found if bad or not sizes else self._unknown_ids(sizes)

    def _unknown_ids(self, sizes: Sequence[tuple[int, int]]) -> list[str]:
        height, width = sizes[0]
        step = max(1, len(self) * height * width // _MOST_PIXELS)
        bad = []
        for _, mask in self._samples[::step]:
            try:
                if ids := self._strangers(mask):
                    bad.append(f"{mask.name} ({ids})")
            except InputError as error:
                bad.append(str(error))
        return [f"Maps hold ids without a class; {self._legal()} Look at {named(bad)}."] if bad else []

    def _strangers(self, mask: Encoded) -> str:
        counts = np.bincount(_pixels(mask).reshape(-1), minlength=256)
        return ", ".join(str(each) for each in np.flatnonzero((counts > 0) & (self._labels == _UNKNOWN)))

    def _legal(self) -> str:
        known = np.flatnonzero(self._labels != _UNKNOWN)
        return f"legal ids are {', '.join(map(str, known))}."


def _size_of(file: Encoded, expected: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width from the header alone; an image has colour, a map (which must have a size) has ids."""
    from PIL import Image

    try:
        with file.open() as opened, Image.open(opened, formats=FORMATS) as image:
            size, mode = (image.height, image.width), image.mode
    except UNREADABLE as error:
        raise InputError(f"{file.name} cannot be read as an image ({error}).") from error
    if expected is None and mode != "RGB":
        raise InputError(f"{file.name} has pixels of kind {mode} instead of 8-bit colour (RGB): convert it.")
    if expected is not None and mode not in {"L", "P"}:
        raise InputError(f"{file.name} has pixels of kind {mode} instead of 8-bit class ids.")
    if expected is not None and size != expected:
        raise InputError(f"{file.name} is {size[1]}x{size[0]}, its image {expected[1]}x{expected[0]}.")
    return size


def _pixels(file: Encoded) -> np.ndarray:
    from PIL import Image

    try:
        with file.open() as opened, Image.open(opened, formats=FORMATS) as image:
            return np.asarray(image)
    except UNREADABLE as error:
        raise InputError(f"{file.name} cannot be decoded ({error}): replace it.") from error
