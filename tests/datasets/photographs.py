"""Small encoded photographs of every kind that ImageNet holds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n01440764", "n01443537", "n02084071")
KINDS = ("RGB", "L", "CMYK")


def photograph(index: int, kind: str = "RGB", form: str = "JPEG") -> bytes:
    """Image i, of an odd size; its brightness depends on its class i % 3."""
    random = np.random.RandomState(index)
    size = (17 + index % 5, 13 + index % 7)
    pixels = random.randint(0, 60, (*size, 3)) + 70 * (index % 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(kind).save(buffer, form)
    return buffer.getvalue()


def pixels_of(encoded: bytes) -> np.ndarray:
    """As torchvision's loader reads them: (3, H, W)."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).transpose(2, 0, 1)


def write_folders(root: Path, *, train: int = 12, test: int = 6, test_name: str = "val") -> Path:
    """ImageNet's folders with images of every size and kind in turn, an equal number of each class."""
    for split, count in (("train", train), (test_name, test)):
        for index in range(count):
            path = root / split / WNIDS[index % 3] / f"{WNIDS[index % 3]}_{index}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photograph(index, KINDS[index // 3 % 3]))
    return root
