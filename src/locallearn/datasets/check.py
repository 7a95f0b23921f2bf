"""What lies in a data set's folder and whether it can be trained on, for people: it reports and does not raise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from locallearn.datasets.arrays import ImageArrays, problems_in, problems_of
from locallearn.datasets.checksums import checksums
from locallearn.datasets.layout import SPLITS, Layout
from locallearn.datasets.registry import MODULES, find_spec
from locallearn.datasets.sources import default_root, is_streamed, opened, recognise
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """One file, or all files of a folder of images as one.

    Args:
        path: Where it is.
        bytes: Its size.
        md5: Its MD5; None for a folder.
        sha256: Its SHA-256; for a folder, of the sorted lines 'SHA-256 path'.
        official: Whether it is what the authors publish; None where no checksum is published.
    """

    path: str
    bytes: int
    md5: str | None
    sha256: str
    official: bool | None


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What was found.

    Args:
        name: The data set asked for.
        root: The folder looked at; None for a data set that needs none.
        layout: How the files lie; None if nothing was recognised.
        classes: The class names.
        splits: For each split read as a whole, class name to number of images.
        samples: For each split that is read sample by sample, number of images.
        files: The files read.
        problems: What must be put right before training.
    """

    name: str
    root: str | None
    layout: str | None
    classes: tuple[str, ...]
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    files: tuple[FileReport, ...] = ()
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON takes it.

        Returns:
            Its fields, `counts` (images per split) and `ok`.
        """
        return {**asdict(self), "counts": self.counts, "ok": not self.problems}

    @property
    def counts(self) -> dict[str, int]:
        """Images per split."""
        return {split: sum(classes.values()) for split, classes in self.splits.items()} | self.samples


def check(name: str, root: Path | str | None = None) -> DataReport:
    """Read a whole data set as a run would, and say what is there; of samples only what is seen without decoding them.

    Args:
        name: One of `locallearn.datasets.registry.SPECS`.
        root: As for `load`.

    Returns:
        The report; bad data is listed in its problems.

    Raises:
        InputError: There is no data set of that name.
    """
    spec = find_spec(name)
    folder = default_root(spec, root)
    if is_streamed(spec):
        return _opened(spec, folder)
    problems: list[str] = []
    layout, splits, files = None, {}, ()
    try:
        layout = recognise(spec, folder)
        problems += layout.problems
        for split in SPLITS:
            splits.update(_counted(layout, spec, split, f"{folder or layout.name} ({split})", problems))
        files = _files(layout)
    except InputError as error:
        problems += problems_in(error)
    except OSError as error:
        problems.append(f"{folder} cannot be read: {error}.")
    return DataReport(
        name=name,
        root=None if folder is None else str(folder),
        layout=layout.name if layout else None,
        classes=spec.classes,
        splits=splits,
        files=files,
        problems=tuple(problems),
    )


def _opened(spec: DatasetSpec, folder: Path | None) -> DataReport:
    generated = getattr(MODULES[spec.name], "GENERATED", False)
    place = folder if generated else folder or Path("data") / spec.name
    report = DataReport(name=spec.name, root=None if place is None else str(place), layout=None, classes=spec.classes)
    try:
        found = opened(spec, folder)
    except InputError as error:
        return replace(report, problems=tuple(problems_in(error)))
    except OSError as error:
        return replace(report, problems=(f"{folder or spec.title} cannot be read: {error}.",))
    parts = {"train": found.train, "validation": found.validation, "test": found.test}
    counts = {split: len(part) for split, part in parts.items() if part is not None}
    layout = "samples that are generated" if generated else "samples that are read one by one"
    return replace(report, layout=layout, classes=found.spec.classes, samples=counts)


def _counted(
    layout: Layout, spec: DatasetSpec, split: str, where: str, problems: list[str]
) -> Mapping[str, dict[str, int]]:
    # The images of each class in one split, nothing if it cannot be read; adds to the problems.
    try:
        arrays = layout.read(split)
    except InputError as error:
        problems += problems_in(error)
        return {}
    problems += problems_of(arrays, spec, where)
    return {split: _per_class(arrays, spec)}


def _per_class(arrays: ImageArrays, spec: DatasetSpec) -> dict[str, int]:
    return {name: int(np.count_nonzero(arrays.labels == label)) for label, name in enumerate(spec.classes)}


def _files(layout: Layout) -> tuple[FileReport, ...]:
    paths = dict.fromkeys(path for split in SPLITS for path in layout.files.get(split, ()) if path.exists())
    return tuple(_folder(path) if path.is_dir() else _file(path, layout.md5.get(path.name)) for path in paths)


def _file(path: Path, published: str | None) -> FileReport:
    md5, sha256 = checksums(path)
    official = None if published is None else md5 == published
    return FileReport(path=str(path), bytes=path.stat().st_size, md5=md5, sha256=sha256, official=official)


def _folder(folder: Path) -> FileReport:
    # A folder of images as one file: a checksum of all their checksums.
    total, together = 0, hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        together.update(f"{checksums(path).sha256} {path.relative_to(folder).as_posix()}\n".encode())
        total += path.stat().st_size
    return FileReport(path=str(folder), bytes=total, md5=None, sha256=together.hexdigest(), official=None)
