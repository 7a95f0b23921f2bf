"""Encoded images (PNG, JPEG) to arrays, many at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from locallearn.datasets.arrays import named
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg")
UNREADABLE = (OSError, ValueError, SyntaxError, TypeError)
"""What Pillow raises on files that are no images, or damaged ones."""
COLOUR_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}
_CHUNK = 256


def decode(opened: Sequence[Callable[[], BinaryIO]], names: Callable[[int], str], spec: DatasetSpec) -> np.ndarray:
    """Images of one size from files or bytes; a bad one is named, never replaced.

    Args:
        opened: One function for each image that opens its bytes.
        names: Where image i came from, for the message.
        spec: The shape they must have.

    Returns:
        (N, C, H, W), uint8; grey images are repeated over the channels.

    Raises:
        InputError: Images cannot be decoded or have another size; up to ten are named.
    """
    channels, height, width = spec.shape
    images = np.empty((len(opened), height, width, channels), np.uint8)

    def decode_chunk(first: int) -> list[tuple[int, str]]:
        bad = []
        for index in range(first, min(first + _CHUNK, len(opened))):
            try:
                with opened[index]() as file:
                    images[index] = _pixels(file, spec)
            except UNREADABLE as error:
                bad.append((index, str(error)))
        return bad

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        bad = [item for chunk in pool.map(decode_chunk, range(0, len(opened), _CHUNK)) for item in chunk]
    if bad:
        reasons = named([f"{names(index)} ({reason})" for index, reason in bad])
        raise InputError(f"{len(bad)} of {len(opened)} images cannot be used; replace or remove {reasons}.")
    return images.transpose(0, 3, 1, 2)


def decode_colour(opened: Callable[[], BinaryIO], name: str) -> np.ndarray:
    """One image of any size in colour; grey and CMYK are converted, transparency and EXIF orientation are ignored.

    Args:
        opened: Opens the image's bytes.
        name: Where the image came from, for the message.

    Returns:
        (3, H, W), uint8.

    Raises:
        InputError: The image is missing, cannot be decoded, is cut short, or has no pixels of 8 bits.
    """
    from PIL import Image

    try:
        with opened() as file:
            return _colour_pixels(file)
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise InputError(f"{name} cannot be used ({error}): replace or remove it.") from error


def opener(content: bytes | None) -> Callable[[], BinaryIO]:
    """A function that opens bytes in memory.

    Args:
        content: An encoded image; None, a missing one, fails only when opened.

    Returns:
        The function.
    """

    def opened() -> BinaryIO:
        if content is None:
            raise ValueError("no image bytes")
        return io.BytesIO(content)

    return opened


def _pixels(file: BinaryIO, spec: DatasetSpec) -> np.ndarray:
    from PIL import Image

    channels, height, width = spec.shape
    with Image.open(file, formats=FORMATS) as image:
        if image.size != (width, height):
            raise ValueError(f"{image.width}x{image.height} pixels instead of {width}x{height}")
        if image.mode not in {"1", "L", "P", "RGB"}:
            raise ValueError(f"pixels of kind {image.mode} instead of 8-bit colour or grey")
        pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(height, width, channels)


def _colour_pixels(file: BinaryIO) -> np.ndarray:
    from PIL import Image

    with Image.open(file, formats=FORMATS) as image:
        if image.mode not in COLOUR_MODES:
            raise ValueError(f"pixels of kind {image.mode} instead of 8-bit colour or grey")
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy()
