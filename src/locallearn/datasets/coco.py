"""COCO, objects in everyday scenes, and other data sets in its format."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.datasets.arrays import DataProblems, problems_in, where_to_put
from locallearn.datasets.coco_file import read_coco
from locallearn.datasets.coco_images import CocoImages
from locallearn.datasets.detection_transform import DetectionTransform
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError
from locallearn.extras import require

if TYPE_CHECKING:
    from locallearn.datasets.image_set import Splits

SPEC = DatasetSpec(
    name="coco",
    title="COCO, or a data set in its format",
    classes=(
        *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
        *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog"),
        *("horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag"),
        *("tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat"),
        *("baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup"),
        *("fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot"),
        *("hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table"),
        *("toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven"),
        *("toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier"),
        "toothbrush",
    ),
    shape=(3, 480, 640),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augmentation=DetectionTransform(),
    source="T.-Y. Lin et al.: Microsoft COCO: Common Objects in Context, 2014; mean and standard "
    "deviation: ImageNet's, not applied to the images, as detectors normalise by their own",
    licence="annotations CC BY 4.0; images under the terms of Flickr",
    files="annotations/instances_train2017.json and instances_val2017.json, train2017/ and val2017/ (or, of one split, "
    "annotations/instances.json and images/)",
    address="https://cocodataset.org",
    notes="Classes are the file's categories in the order of their ids, without gaps. Tested on the validation images: "
    "the test images' annotations are not public.",
    task="detection",
)
_PREFIX = "instances_"
_TRAIN_ON_TEST = "There is one annotation file, {file}: its images are trained on and tested on."


def open_splits(spec: DatasetSpec, root: Path | None, *, download: bool = False) -> Splits:
    """A data set in COCO's format; images are decoded when they are asked for.

    In the official layout `annotations/instances_train2017.json` lists the images of `train2017/`, likewise for
    `val2017`; any ending will do in place of 2017. In the flat layout `annotations/instances.json` lists those of
    `images/`; they are trained on and tested on, of which a warning tells. Labels are the categories in the order of
    their ids, from 1 on.

    Args:
        spec: `SPEC`, perhaps with another augmentation.
        root: The folder; None for `data/coco`.
        download: Refused: images are many gigabytes.

    Returns:
        Training images that hold objects, no validation images, and the validation images to test on; the description
        has the files' classes.

    Raises:
        DataProblems: Files are missing, or not what they should be; all problems are told.
        InputError: pycocotools is not installed.
    """
    from locallearn.datasets.image_set import Splits

    require("pycocotools.mask", "COCO's format", extra="detection")
    folder = root or Path("data") / spec.name
    files = _found(folder, spec, download=download)
    read, problems = {}, []
    for split, (file, images) in files.items():
        try:
            read[split] = read_coco(file, images)
        except InputError as error:
            problems += problems_in(error)
    if not problems and read["train"].classes != read["val"].classes:
        problems.append(f"{files['train'][0]} and {files['val'][0]} list different categories.")
    if problems:
        raise DataProblems(problems)
    train, test = (CocoImages(read[split], training=split == "train") for split in ("train", "val"))
    if problems := list(dict.fromkeys([*train.problems(), *test.problems()])):
        raise DataProblems(problems)
    return Splits(replace(spec, classes=read["train"].classes), train, None, test)


def _found(folder: Path, spec: DatasetSpec, *, download: bool) -> dict[str, tuple[Path, Path]]:
    """For 'train' and 'val' the annotations and the folder of their images."""
    annotations = folder / "annotations"
    flat = annotations / "instances.json"
    named = {split: sorted(annotations.glob(f"{_PREFIX}{split}*.json")) for split in ("train", "val")}
    problems = [
        f"{annotations} has {len(files)} files {_PREFIX}{split}*.json: leave one there."
        for split, files in named.items()
        if len(files) > 1
    ]
    if not any(named.values()) and flat.is_file():
        warnings.warn(_TRAIN_ON_TEST.format(file=flat), stacklevel=3)
        return dict.fromkeys(named, (flat, folder / "images"))
    problems += [f"{annotations} has no {_PREFIX}{split}*.json." for split, files in named.items() if not files]
    if problems:
        raise DataProblems([*problems, where_to_put(spec, folder, download=download)])
    return {split: (file, folder / file.stem.removeprefix(_PREFIX)) for split, (file,) in named.items()}
