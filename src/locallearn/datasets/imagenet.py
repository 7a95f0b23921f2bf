"""ImageNet, or any part of it: photographs in class folders or in parquet files, decoded as they are needed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from locallearn.datasets.arrays import DataProblems, named, problems_in, where_to_put
from locallearn.datasets.class_folders import folder_names, image_names, problems_of_folder
from locallearn.datasets.folder_samples import FolderSamples
from locallearn.datasets.parquet import files_by_split
from locallearn.datasets.parquet_samples import ParquetSamples
from locallearn.datasets.resized_crop import ResizedCrop
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

if TYPE_CHECKING:
    from locallearn.datasets.image_set import Splits

TEST_NAMES = ("val", "validation", "test")
"""What the split that is tested on may be called; the first that is there is taken."""

SPEC = DatasetSpec(
    name="imagenet",
    title="ImageNet (ILSVRC 2012), or a part of it",
    classes=tuple(f"class-{label:03}" for label in range(1000)),
    shape=(3, 224, 224),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augmentation=ResizedCrop(),
    source="J. Deng et al.: ImageNet: A Large-Scale Hierarchical Image Database, 2009; O. Russakovsky et al., 2015; "
    "constants: imagenet_DDP.py of InfoPro, MAN, MLAAN and AugLocal",
    licence="non-commercial research and education, after registration; the images are their owners'",
    files="train/CLASS/*.JPEG and val/CLASS/*.JPEG, or train-*.parquet and validation-*.parquet (Hugging Face layout)",
    address="https://www.image-net.org/download.php",
    notes="Classes are those found, in the order of their names or of the parquet files' own list. Tested on val: the "
    "labels of ImageNet's test images are not public. Test images are resized to 256 and cropped to 224 as in the "
    "released code; MAN's supplement describes 224 and 224: augmentation.test_resize = 224.",
)


def open_splits(spec: DatasetSpec, root: Path | None, *, download: bool) -> Splits:
    """Look through the files without decoding images.

    Args:
        spec: `SPEC`, perhaps with another augmentation.
        root: The folder with `train` and `val` (or `validation`, `test`), or with parquet files; None for
            `data/imagenet`.
        download: Refused: ImageNet is given to registered users only.

    Returns:
        Samples to train and to test on, and the description with the classes that were found.

    Raises:
        InputError: There are no files, the splits differ in their classes, classes are empty, or files are not images
            or are unreadable; all problems are told.
    """
    from locallearn.datasets.image_set import Splits

    root = Path("data") / spec.name if root is None else root
    if any(folder_names(root / split) for split in ("train", *TEST_NAMES)):
        classes, train, test = _from_folders(spec, root)
    elif any((files := files_by_split(root, ("train", *TEST_NAMES))).values()):
        classes, train, test = _from_parquet(spec, root, files)
    else:
        state = "holds neither class folders nor parquet files" if root.exists() else "does not exist"
        more = "; published archives are unpacked first"
        raise InputError(f"{root} {state}. {where_to_put(spec, root, download=download, more=more)}")
    if len(classes) < 2:
        raise InputError(f"{root} holds images of {named(classes)} alone: at least two classes are needed.")
    return Splits(replace(spec, classes=classes), train, None, test)


def _from_folders(spec: DatasetSpec, root: Path) -> tuple[tuple[str, ...], FolderSamples, FolderSamples]:
    train, test = root / "train", next((root / name for name in TEST_NAMES if (root / name).is_dir()), root / "val")
    classes = tuple(sorted({*folder_names(train), *folder_names(test)}))
    problems = []
    for folder in (train, test):
        if not folder_names(folder) and (images := image_names(folder)):
            problems.append(
                f"{folder} holds {len(images)} images but no class folders, so that their classes are unknown: move "
                "each into the folder of its class (valprep.sh of https://github.com/soumith/imagenetloader.torch "
                "does it for the validation images of ILSVRC 2012)."
            )
        else:
            problems += problems_of_folder(folder, replace(spec, classes=classes))
    if problems:
        raise DataProblems(problems)
    return classes, FolderSamples(train, classes), FolderSamples(test, classes)


def _from_parquet(
    spec: DatasetSpec, root: Path, files: dict[str, tuple[Path, ...]]
) -> tuple[tuple[str, ...], ParquetSamples, ParquetSamples]:
    test_name = next((name for name in TEST_NAMES if files[name]), "validation")
    found, problems = {}, []
    for split in ("train", test_name):
        if not files[split]:
            problems.append(f"{root} has parquet files but none for {split!r}: add {split}.parquet.")
            continue
        try:
            found[split] = ParquetSamples(files[split])
        except InputError as error:
            problems += problems_in(error)
    if problems:
        raise DataProblems(problems)
    train, test = found["train"], found[test_name]
    classes = _agreed(train, test, f"{root} (train)", f"{root} ({test_name})")
    train.classes = test.classes = classes
    if not train.in_memory and train.group_size > 1:
        warnings.warn(
            f"{root}: the training images are too many to keep in memory, and their parquet files are read in groups "
            f"of up to {train.group_size}, a whole group for each image in random order. Unpack them once: "
            "locallearn.datasets.parquet_samples.unpack writes class folders.",
            stacklevel=3,
        )
    return classes, train, test


def _agreed(train: ParquetSamples, test: ParquetSamples, *places: str) -> tuple[str, ...]:
    # The classes of both splits: those that the files state, else as many as there are labels.
    problems, classes = [], train.classes or test.classes
    if train.classes and test.classes and train.classes != test.classes:
        only = [sorted(set(a) - set(b)) for a, b in ((train.classes, test.classes), (test.classes, train.classes))]
        told = [f"{named(names)} only in {place}" for names, place in zip(only, places, strict=True) if names]
        problems.append(f"The classes of the splits differ: {'; '.join(told) or 'they are in another order'}.")
    labels = [np.unique(samples.labels).tolist() for samples in (train, test)]
    together = {*labels[0], *labels[1]}
    count = len(classes or together)
    for found, place in zip(labels, places, strict=True):
        if outside := [str(label) for label in found if not 0 <= label < count]:
            problems.append(f"{place}: labels must be 0 to {count - 1}, but there is {named(outside)}.")
        if not classes and (missing := sorted(together - {*found})):
            problems.append(f"{place} has no images of class {named([str(label) for label in missing])}.")
        if not found:
            problems.append(f"{place} holds no images.")
    if problems:
        raise DataProblems(problems)
    return classes or tuple(str(label) for label in range(count))
