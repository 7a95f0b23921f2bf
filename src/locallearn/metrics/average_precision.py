"""Average precision of boxes and masks as COCO counts it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from locallearn.extras import require
from locallearn.metrics.metric import Metric

if TYPE_CHECKING:
    from pycocotools.coco import COCO

_KINDS: dict[str, Literal["bbox", "segm"]] = {"box": "bbox", "mask": "segm"}
_SUMMARY = ("ap", "ap50", "ap75")
_INSIDE = 0.5


class AveragePrecision(Metric):
    """COCO's average precision, averaged over classes, by pycocotools.

    `box_ap` is the mean over overlaps (IoU) of 0.50, 0.55, ..., 0.95, `box_ap50` and `box_ap75` are those at 0.5 and
    0.75; `mask_ap`, `mask_ap50` and `mask_ap75` likewise where network and targets have masks. In an image the 100 best
    detections of every class count. Objects marked by `iscrowd` are neither found nor missed. A class without objects
    does not count; without any objects all is 0.

    Other than most metrics it moves every batch's detections to the host at once: masks of images' size would fill the
    device.

    Args:
        num_classes: Classes of objects, without background.

    Raises:
        InputError: pycocotools is not installed.

    Source: Lin et al. Microsoft COCO: Common Objects in Context. ECCV 2014; https://github.com/cocodataset/cocoapi.
    """

    name: ClassVar[str] = "box_ap"

    def __init__(self, num_classes: int) -> None:
        require("pycocotools.cocoeval", "Average precision", extra="detection")
        self._classes = num_classes
        self._images: list[dict[str, int]] = []
        self._objects: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._masks = True

    @override
    def update(self, output: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
        for found, target in zip(output, targets, strict=True):
            self._masks = self._masks and "masks" in found and "masks" in target
            image = len(self._images) + 1
            height, width = target["masks"].shape[-2:] if "masks" in target else (0, 0)
            self._images.append({"id": image, "height": height, "width": width})
            masks = _encoded(target["masks"] > 0) if "masks" in target else None
            truth = _annotations(target, masks, image, len(self._objects))
            crowd = target["iscrowd"].tolist() if "iscrowd" in target else [0] * len(truth)
            self._objects += [{**each, "iscrowd": int(flag)} for each, flag in zip(truth, crowd, strict=True)]
            masks = _encoded(found["masks"][:, 0] > _INSIDE) if self._masks else None
            guesses = _annotations(found, masks, image, len(self._found))
            scores = found["scores"].tolist()
            self._found += [{**each, "score": s, "iscrowd": 0} for each, s in zip(guesses, scores, strict=True)]

    @override
    def absorb(self, other: AveragePrecision) -> None:
        images, objects, found = len(self._images), len(self._objects), len(self._found)
        self._masks = self._masks and other._masks
        self._images += [each | {"id": each["id"] + images} for each in other._images]
        self._objects += _moved_on(other._objects, images, objects)
        self._found += _moved_on(other._found, images, found)

    @override
    def results(self) -> dict[str, float]:
        kinds = _KINDS if self._masks and self._images else ("box",)
        return {f"{kind}_{name}": value for kind in kinds for name, value in self._summary(_KINDS[kind]).items()}

    def _summary(self, kind: Literal["bbox", "segm"]) -> dict[str, float]:
        from pycocotools.cocoeval import COCOeval

        with redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._index(self._objects, kind), self._index(self._found, kind), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {name: max(0.0, 100 * float(value)) for name, value in zip(_SUMMARY, evaluation.stats[:3], strict=True)}

    def _index(self, annotations: list[dict[str, Any]], kind: str) -> COCO:
        """What pycocotools reads, made without a file; it writes into the annotations that it is given."""
        from pycocotools.coco import COCO

        index: Any = COCO()
        index.dataset = {
            "images": self._images,
            "categories": [{"id": label} for label in range(1, self._classes + 1)],
            "annotations": [each | {"area": each[f"{kind}_area"]} for each in annotations],
        }
        index.createIndex()
        return index


def _moved_on(annotations: Sequence[dict[str, Any]], images: int, before: int) -> list[dict[str, Any]]:
    """Annotations behind so many others, of images behind so many others."""
    return [each | {"id": each["id"] + before, "image_id": each["image_id"] + images} for each in annotations]


def _encoded(masks: Tensor) -> list[dict[str, Any]]:
    """Run lengths of masks (n, H, W)."""
    from pycocotools.mask import encode

    # pycocotools reads (H, W, n) by columns.
    columns: Any = masks.permute(0, 2, 1).to(torch.uint8).contiguous().cpu().numpy().transpose(2, 1, 0)
    encoded: Any = encode(columns)
    return encoded


def _annotations(
    objects: Mapping[str, Tensor], masks: list[dict[str, Any]] | None, image: int, known: int
) -> list[dict[str, Any]]:
    """COCO's form of objects, or of detections."""
    corners, labels = objects["boxes"].tolist(), objects["labels"].tolist()
    areas = [] if masks is None else _areas(masks)
    annotations = []
    for place, ((x1, y1, x2, y2), label) in enumerate(zip(corners, labels, strict=True)):
        annotation = {
            "id": known + place + 1,
            "image_id": image,
            "category_id": label,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "bbox_area": (x2 - x1) * (y2 - y1),
        }
        if masks is not None:
            annotation |= {"segmentation": masks[place], "segm_area": int(areas[place])}
        annotations.append(annotation)
    return annotations


def _areas(run_lengths: Any) -> Any:
    from pycocotools.mask import area

    return area(run_lengths) if run_lengths else []
