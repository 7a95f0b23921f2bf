"""Cityscapes, street scenes with a class for every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.datasets.annotated_images import VOID, Annotated, AnnotatedImages, Encoded
from locallearn.datasets.arrays import DataProblems, named, where_to_put
from locallearn.datasets.scale_crop import ScaleCrop
from locallearn.datasets.spec import DatasetSpec

if TYPE_CHECKING:
    from locallearn.datasets.image_set import Splits

_ID_OF = {
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19},
    **{"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26},
    **{"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
SPEC = DatasetSpec(
    name="cityscapes",
    title="Cityscapes, 19 classes, fine annotations",
    classes=tuple(_ID_OF),
    shape=(3, 512, 1024),
    mean=(123.675 / 255, 116.28 / 255, 103.53 / 255),
    std=(58.395 / 255, 57.12 / 255, 57.375 / 255),
    augmentation=ScaleCrop(crop=(512, 1024)),
    source="M. Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding, 2016; constants: "
    "InfoPro's segmentation code (mmsegmentation)",
    licence="research and teaching only; registration with the authors",
    files="leftImg8bit/ and gtFine/, each with train/CITY/*.png and val/CITY/*.png",
    address="https://www.cityscapes-dataset.com",
    notes="Tested on the official validation images, as the papers do: the test images' labels are not public.",
    task="segmentation",
)
LABEL_OF = dict.fromkeys(range(34), VOID) | {number: label for label, number in enumerate(_ID_OF.values())}
TRAIN_LABEL_OF = {label: label for label in range(len(_ID_OF))} | {VOID: VOID}
SPLITS = ("train", "val")
_IMAGE = "_leftImg8bit.png"
_MAPS = {"_gtFine_labelTrainIds.png": TRAIN_LABEL_OF, "_gtFine_labelIds.png": LABEL_OF}


def open_splits(spec: DatasetSpec, root: Path | None, *, download: bool = False) -> Splits:
    """Cityscapes in its official layout; of each split the maps of train ids if all are there, else those of label ids.

    Args:
        spec: `SPEC`, perhaps with another augmentation.
        root: The folder that holds `leftImg8bit` and `gtFine`; None for `data/cityscapes`.
        download: Refused: it takes registration.

    Returns:
        The official training images, no validation images, and the official validation images to test on.

    Raises:
        DataProblems: Folders or maps are missing, maps have no image or another size, ids have no class, or images are
            not in colour; all problems are told.
    """
    from locallearn.datasets.image_set import Splits

    folder = root or Path("data") / spec.name
    opened, problems = {}, []
    for split in SPLITS:
        images = sorted((folder / "leftImg8bit" / split).glob(f"*/*{_IMAGE}"))
        if not images:
            problems.append(f"{folder / 'leftImg8bit' / split} has no CITY/*{_IMAGE}.")
            continue
        samples, label_of, missing = _paired(folder, split, images)
        problems += missing
        if not missing:
            opened[split] = AnnotatedImages(spec.classes, samples, label_of)
            problems += opened[split].problems()
    if problems:
        raise DataProblems([*problems, where_to_put(spec, folder, download=download)])
    return Splits(spec, opened["train"], None, opened["val"])


def _paired(folder: Path, split: str, images: list[Path]) -> tuple[list[Annotated], dict[int, int], list[str]]:
    """Images with their maps, the maps' ids, and what is wrong with the pairs."""
    maps = {suffix: {path: _map_of(folder, split, path, suffix) for path in images} for suffix in _MAPS}
    suffix = next((each for each in _MAPS if all(path.is_file() for path in maps[each].values())), "")
    if not suffix:
        suffix = "_gtFine_labelIds.png"
        lost = [str(path) for path in maps[suffix].values() if not path.is_file()]
        return [], {}, [f"{len(lost)} of {len(images)} images have no map: add {named(lost)}."]
    alone = sorted({*(folder / "gtFine" / split).glob(f"*/*{suffix}")} - {*maps[suffix].values()})
    strays = [f"Maps have no image: add the images of, or remove, {named(list(map(str, alone)))}."] if alone else []
    pairs = [Annotated(Encoded(str(path), path), Encoded(str(mask), mask)) for path, mask in maps[suffix].items()]
    return pairs, _MAPS[suffix], strays


def _map_of(folder: Path, split: str, image: Path, suffix: str) -> Path:
    return folder / "gtFine" / split / image.parent.name / (image.name.removesuffix(_IMAGE) + suffix)
