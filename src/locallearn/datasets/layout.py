"""One way a data set's files can lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from locallearn.datasets.arrays import ImageArrays

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Layout:
    """Files that were recognised, not yet read.

    Args:
        name: What the layout is called in messages.
        files: For 'train' and 'test', the files or folders that are read.
        read: The images of one of the two; raises `InputError`.
        md5: Published checksums by file name; empty where nothing is published.
        problems: What is wrong that can be seen without reading.
    """

    name: str
    files: Mapping[str, tuple[Path, ...]]
    read: Callable[[str], ImageArrays]
    md5: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
