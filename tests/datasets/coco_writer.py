"""Data sets of detection written in COCO's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn import atomic_file

if TYPE_CHECKING:
    from torch import Tensor

    from locallearn.datasets.image_set import Splits
    from locallearn.datasets.samples import Samples


def write_coco(splits: Splits, folder: Path) -> None:
    """Write images and annotations as `coco` reads them: `train/` and `val/` with PNG files, and two JSON files.

    Args:
        splits: Training and test images with boxes, labels and masks.
        folder: Made if it is not there.
    """
    for split, samples in (("train", splits.train), ("val", splits.test)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / "annotations").mkdir(exist_ok=True)
        content = _written(samples, folder / split)  # pyright: ignore[reportArgumentType]
        atomic_file.write(folder / "annotations" / f"instances_{split}.json", json.dumps(content).encode())


def _written(samples: Samples, folder: Path) -> dict[str, Any]:
    from PIL import Image

    images, annotations = [], []
    for index in range(len(samples)):
        pixels, target = samples[index]
        name = f"{index:06d}.png"
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / name)
        images.append({"id": index, "file_name": name, "height": pixels.shape[1], "width": pixels.shape[2]})
        annotations += [{"image_id": index, **each} for each in _objects(target)]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    categories = [{"id": label, "name": name} for label, name in enumerate(samples.classes, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _objects(target: dict[str, Tensor]) -> list[dict[str, Any]]:
    import numpy as np
    from pycocotools import mask

    tools: Any = mask
    found = []
    for (x1, y1, x2, y2), label, painted in zip(
        target["boxes"].tolist(), target["labels"].tolist(), target["masks"].numpy(), strict=True
    ):
        outline = tools.encode(np.asfortranarray(painted))
        found.append(
            {
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": outline | {"counts": outline["counts"].decode()},
                "area": int(tools.area(outline)),
                "iscrowd": 0,
            }
        )
    return found
