"""Small street scenes as files: what tests of segmentation data sets are made of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 6, 8


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    image = Image.fromarray(pixels.astype(np.uint8))
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(H, W, 3), different for every seed."""
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3))


def ids(seed: int, legal: Sequence[int], height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(H, W), of the ids given."""
    return np.random.RandomState(100 + seed).choice(list(legal), (height, width))


def write_parquet(path: Path, images: Sequence[bytes | None], masks: Sequence[bytes | None], classes: str = "") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(contents: Sequence[bytes | None], suffix: str) -> list[dict[str, object]]:
        return [{"bytes": content, "path": f"{index}.{suffix}"} for index, content in enumerate(contents)]

    table = pa.table({"image": column(images, "jpg"), "annotation": column(masks, "png")})
    pq.write_table(table.replace_schema_metadata({"classes": classes} if classes else None), path)
