"""Annotation files in COCO's format, read and checked as a whole."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from locallearn.datasets.arrays import DataProblems, named
from locallearn.datasets.run_lengths import covers

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
_TABLES: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"id": int, "image_id": int, "category_id": int},
    "categories": {"id": int, "name": str},
}


class Annotation(NamedTuple):
    """One object: its box within the image, its label from 1, its outline as the file has it, its id."""

    box: Box
    label: int
    outline: Any
    is_crowd: bool
    number: int


class AnnotatedImage(NamedTuple):
    """One image with its objects; height and width are those that the file states."""

    path: Path
    number: int
    height: int
    width: int
    objects: tuple[Annotation, ...]


@dataclass(frozen=True)
class CocoFile:
    """What a file of annotations holds.

    Args:
        path: The file.
        classes: Names of the categories in the order of their ids; label 1 is the first.
        images: In the file's order.
        has_masks: Whether objects have outlines.
    """

    path: Path
    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    has_masks: bool


def read_coco(file: Path, folder: Path) -> CocoFile:
    """Read and check a file of annotations.

    Boxes are cut at the border of their image. Boxes of no width or height, of which the official files hold a few, are
    left out and told of in a warning.

    Args:
        file: JSON in COCO's format.
        folder: Where its images are.

    Returns:
        Images with their objects.

    Raises:
        DataProblems: The file is no such JSON; images are missing on disk or stand twice; annotations are of absent
            images, of categories that are not listed, have boxes that are none or lie outside, or outlines that are
            missing, are no polygons or run lengths, or are of another size.
    """
    tables = _tables(file)
    problems = _Problems(str(file))
    images = _images(tables["images"], folder, problems)
    names = {each["id"]: str(each["name"]) for each in tables["categories"]}
    labels = {number: label for label, number in enumerate(sorted(names), 1)}
    has_masks = any(each.get("segmentation") for each in tables["annotations"])
    objects: dict[int, list[Annotation]] = {number: [] for number in images}
    empty = []
    for each in tables["annotations"]:
        image, label = images.get(each["image_id"]), labels.get(each["category_id"])
        box = _box(each.get("bbox"))
        problem = _problem(each, image, label, box, has_masks=has_masks)
        if problem or image is None or label is None or box is None:
            problems.add(problem, str(each["id"]))
        elif (cut := _cut(box, image)) is None:
            empty.append(str(each["id"]))
        else:
            found = Annotation(cut, label, each.get("segmentation"), bool(each.get("iscrowd")), each["id"])
            objects[each["image_id"]].append(found)
    problems.refuse()
    if empty:
        warnings.warn(f"{file}: {len(empty)} boxes of no width or height are left out: {named(empty)}.", stacklevel=2)
    annotated = (
        AnnotatedImage(folder / image["file_name"], number, image["height"], image["width"], tuple(objects[number]))
        for number, image in images.items()
    )
    return CocoFile(file, tuple(names[number] for number in labels), tuple(annotated), has_masks)


def _problem(
    annotation: Mapping[str, Any],
    image: Mapping[str, Any] | None,
    label: int | None,
    box: Box | None,
    *,
    has_masks: bool,
) -> str:
    """What is wrong with an annotation, in the plural."""
    if image is None:
        return "annotations belong to images that the file does not list"
    if label is None:
        return "annotations have a category that the file does not list"
    if box is None:
        return "annotations have no box (x, y, width, height)"
    if not (box[0] < image["width"] and box[1] < image["height"] and box[2] > 0 and box[3] > 0):
        return "annotations have a box outside of their image"
    outline = annotation.get("segmentation")
    if has_masks and not outline:
        return "annotations have no outline (segmentation), while others have"
    if has_masks and not _outline_fits(outline, image):
        return "annotations have an outline that is none, or of another size than their image"
    return ""


class _Problems:
    """Problems of a kind, each told once with the first of those that have it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._found: dict[str, list[str]] = {}

    def add(self, what: str, name: str) -> None:
        """Note one more.

        Args:
            what: The kind of problem.
            name: What has it.
        """
        self._found.setdefault(what, []).append(name)

    def refuse(self) -> None:
        """Tell all.

        Raises:
            DataProblems: There are some.
        """
        if self._found:
            raise DataProblems(
                [f"{self._source}: {len(each)} {what}: {named(each)}." for what, each in self._found.items()]
            )


def _tables(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataProblems([f"{file} cannot be read as JSON ({error})."]) from error
    tables: dict[str, Any] = {key: content.get(key) if isinstance(content, dict) else None for key in _TABLES}
    problems = [
        f"{file} has no list of {key}, each with {', '.join(wanted)}; is it COCO's format?"
        for key, wanted in _TABLES.items()
        if not isinstance(tables[key], list) or not all(_has(each, wanted) for each in tables[key])
    ]
    if problems:
        raise DataProblems(problems)
    if not tables["categories"] or len({each["id"] for each in tables["categories"]}) < len(tables["categories"]):
        raise DataProblems([f"{file} lists no categories, or two of the same id."])
    return tables


def _has(entry: Any, wanted: Mapping[str, type]) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in wanted.items())


def _images(table: list[dict[str, Any]], folder: Path, problems: _Problems) -> dict[int, dict[str, Any]]:
    there = set(_files(folder))
    images: dict[int, dict[str, Any]] = {}
    for image in table:
        if image["id"] in images:
            problems.add("images have the id of another", str(image["file_name"]))
        if image["file_name"] not in there and not (folder / image["file_name"]).is_file():
            problems.add(f"images are missing in {folder}", str(image["file_name"]))
        images[image["id"]] = image
    return images


def _files(folder: Path) -> Iterator[str]:
    """Names in a folder, which is quicker to ask for than whether each of 100,000 files is there."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)


def _box(box: Any) -> Box | None:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(each, int | float) for each in box):
        return None
    x, y, width, height = map(float, box)
    return (x, y, x + width, y + height) if width >= 0 and height >= 0 and math.isfinite(sum(box)) else None


def _cut(box: Box, image: Mapping[str, Any]) -> Box | None:
    x1, y1, x2, y2 = box
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(image["width"])), min(y2, float(image["height"]))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def _outline_fits(outline: Any, image: Mapping[str, Any]) -> bool:
    if isinstance(outline, dict):
        size = [image["height"], image["width"]]
        return outline.get("size") == size and covers(outline.get("counts"), size[0] * size[1])
    side = max(image["height"], image["width"])
    return isinstance(outline, list) and all(_is_polygon(each, side) for each in outline)


def _is_polygon(points: Any, side: int) -> bool:
    """Whether a list is x, y, x, y, ... of three points or more that are not far outside of an image."""
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return False
    try:
        # A NaN is lost by min and max, but not by the sum.
        return -side <= min(points) and max(points) <= 2 * side and math.isfinite(sum(points))
    except TypeError:
        return False
