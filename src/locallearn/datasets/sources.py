"""Which files a data set is read from: the authors' own, parquet, or class folders, told apart by what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.datasets import class_folders, parquet
from locallearn.datasets.arrays import where_to_put
from locallearn.datasets.layout import Layout
from locallearn.datasets.registry import MODULES
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

if TYPE_CHECKING:
    from locallearn.datasets.image_set import Splits


def default_root(spec: DatasetSpec, root: Path | str | None) -> Path | None:
    """Where to look for a data set's files.

    Args:
        spec: The data set.
        root: What the user said, if anything.

    Returns:
        That, else `data/NAME` in the working directory; None for a data set that comes along, and for one that opens
        itself, whose file says where it looks then.
    """
    if root is not None:
        return Path(root).expanduser()
    if is_streamed(spec) or MODULES[spec.name].find(None):
        return None
    return Path("data") / spec.name


def is_streamed(spec: DatasetSpec) -> bool:
    """Whether a data set's own file opens it.

    Args:
        spec: The data set.

    Returns:
        True where its module has `open_splits`, as those whose samples are read one by one have.
    """
    return hasattr(MODULES[spec.name], "open_splits")


def opened(spec: DatasetSpec, root: Path | None, *, download: bool = False) -> Splits:
    """A data set as its own file opens it.

    Args:
        spec: One for which `is_streamed` holds.
        root: The folder with its files; None for `data/NAME`, or if it needs none.
        download: Whether to fetch them if there are none.

    Returns:
        Its splits; all that can be seen cheaply has been checked.

    Raises:
        InputError: Files are missing or not what they should be; all problems are told.
    """
    return MODULES[spec.name].open_splits(spec, root, download=download)


def find(spec: DatasetSpec, root: Path | None) -> Layout | None:
    """The layout of what lies in a folder.

    Args:
        spec: The data set it should be.
        root: The folder, or the published archive.

    Returns:
        The first that fits of: the authors' files, parquet files, class folders; else None.
    """
    official = MODULES[spec.name].find(root)
    if official or root is None or not root.is_dir():
        return official
    return parquet.find(root, spec) or class_folders.find(root, spec)


def recognise(spec: DatasetSpec, root: Path | None, *, download: bool = False) -> Layout:
    """The layout of what lies in a folder, which is filled first if asked.

    Args:
        spec: The data set it should be.
        root: The folder, or the published archive.
        download: Whether to fetch the authors' files if nothing fits.

    Returns:
        The layout.

    Raises:
        InputError: Nothing fits, or the files cannot be fetched.
    """
    layout = find(spec, root)
    fetch = getattr(MODULES[spec.name], "download", None)
    if layout is None and root is not None and download and fetch is not None:
        fetch(root)
        layout = find(spec, root)
    if layout is None:
        state = "holds no files that are read" if root and root.exists() else "does not exist"
        more = " or give --dataset.download" if fetch else ""
        more += (
            "; train.parquet and test.parquet (Hugging Face layout) or train/CLASS/*.png and test/CLASS/*.png do too"
        )
        raise InputError(f"{root} {state}. {where_to_put(spec, root, download=download, more=more)}")
    return layout
