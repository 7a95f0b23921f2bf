"""Parquet files in the Hugging Face layout: encoded images in `img.bytes` or `image.bytes`, numbers in `label`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from locallearn.datasets.arrays import DataProblems, ImageArrays
from locallearn.datasets.decode import decode, opener
from locallearn.datasets.layout import SPLITS, Layout
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"


def find(root: Path, spec: DatasetSpec) -> Layout | None:
    """Parquet files in a folder or up to two folders below, as `files_by_split` finds them.

    Args:
        root: The folder.
        spec: The data set they should hold.

    Returns:
        The layout, or None if there is no such file.
    """
    files = files_by_split(root, SPLITS)
    if not any(files.values()):
        return None
    missing = tuple(
        f"{root} has parquet files but none for {split!r}: add {split}.parquet." for split in SPLITS if not files[split]
    )
    return Layout("parquet files", files, lambda split: read(files[split], spec), problems=missing)


def files_by_split(root: Path, splits: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Which parquet files in a folder or up to two folders below belong to which split.

    A file belongs to a split by its name (`train.parquet`, `train-00000-of-00002.parquet`) or its folder's
    (`train/0000.parquet`); other files are left alone.

    Args:
        root: The folder.
        splits: The names looked for.

    Returns:
        For each name its files in order, perhaps none.
    """
    found: dict[str, tuple[Path, ...]] = dict.fromkeys(splits, ())
    below = sorted(path for pattern in ("*", "*/*", "*/*/*") for path in root.glob(f"{pattern}.parquet"))
    for path in below:
        prefix = path.stem.split("-")[0]
        split = prefix if prefix in splits else path.parent.name
        if split in found and not any(part.startswith(".") for part in path.relative_to(root).parts):
            found[split] += (path,)
    return found


def read(paths: tuple[Path, ...], spec: DatasetSpec) -> ImageArrays:
    """The rows of several files, in order.

    Args:
        paths: The files of one split.
        spec: The data set they should hold.

    Returns:
        Their images and labels.

    Raises:
        InputError: A file is unreadable or lacks a column, its class names are not the data set's, labels are missing,
            or images cannot be decoded (named by file and row).
    """
    contents: list[bytes | None] = []
    rows: list[str] = []
    labels: list[int | None] = []
    for path in paths:
        images, numbers = _columns(path, spec)
        contents += images
        labels += numbers
        rows += [f"{path} row {row}" for row in range(len(images))]
    without = [row for row, label in zip(rows, labels, strict=True) if label is None]
    if without:
        raise InputError(f"{len(without)} rows have no label; the first is {without[0]}.")
    images = decode([opener(content) for content in contents], rows.__getitem__, spec)
    return ImageArrays(images, np.array(labels, np.int64))


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A parquet file to read from; errors in the block are told as the file's.

    Args:
        path: The file.

    Yields:
        pyarrow's reader, closed at the end.

    Raises:
        InputError: The file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as parquet ({error}).") from error


def _columns(path: Path, spec: DatasetSpec) -> tuple[list[bytes | None], list[int | None]]:
    import pyarrow as pa

    with opened(path) as file:
        column = _checked(path, file.schema_arrow, spec)
        table = file.read(columns=[column, LABEL_COLUMN])
    images = table.column(column).combine_chunks()
    if isinstance(images, pa.StructArray):
        images = images.field("bytes")
    return images.to_pylist(), table.column(LABEL_COLUMN).to_pylist()


def _checked(path: Path, schema: pa.Schema, spec: DatasetSpec) -> str:
    problems = column_problems(path, schema)
    names = class_names(schema)
    if names and tuple(names) != spec.classes:
        problems.append(f"{path} has the classes {', '.join(names)}; {spec.name} has {', '.join(spec.classes)}.")
    column = image_column(schema)
    if problems or column is None:
        raise DataProblems(problems)
    return column


def image_column(schema: pa.Schema) -> str | None:
    """The column with the encoded images.

    Args:
        schema: A file's.

    Returns:
        Its name, or None if there is none.
    """
    return next((name for name in IMAGE_COLUMNS if name in schema.names), None)


def column_problems(path: Path, schema: pa.Schema) -> list[str]:
    """What is wrong with a file's columns.

    Args:
        path: The file, for the messages.
        schema: Its schema.

    Returns:
        A sentence for each problem: a column for images or labels is missing, or of another type.
    """
    import pyarrow.types as types

    column = image_column(schema)
    found = f"its columns are {', '.join(schema.names)}"
    problems = []
    if column is None:
        problems.append(f"{path} has no column {' or '.join(map(repr, IMAGE_COLUMNS))}; {found}.")
    else:
        kind = schema.field(column).type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if not (types.is_binary(kind) or types.is_large_binary(kind)):
            problems.append(f"{path}: {column!r} is {kind}; give encoded images as binary or as a struct with 'bytes'.")
    if LABEL_COLUMN not in schema.names:
        problems.append(f"{path} has no column {LABEL_COLUMN!r}; {found}.")
    elif not types.is_integer(schema.field(LABEL_COLUMN).type):
        problems.append(f"{path}: {LABEL_COLUMN!r} is {schema.field(LABEL_COLUMN).type}; give integers.")
    return problems


def class_names(schema: pa.Schema) -> list[str]:
    """The class names a file states in its metadata.

    Args:
        schema: The file's.

    Returns:
        Those under `classes`, separated by commas, or of the Hugging Face ClassLabel; none if it states none.
    """
    metadata = schema.metadata or {}
    if b"classes" in metadata:
        return metadata[b"classes"].decode().split(",")
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return list(features[LABEL_COLUMN]["names"])
    except (ValueError, KeyError, TypeError):
        return []
