"""Files that are complete and on disk before they have their name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".saving-"
"""How the name of a file begins while it is being written; what an interrupted write leaves has such a name."""


@contextmanager
def flushed(path: Path) -> Iterator[BinaryIO]:
    """A new file that is on disk when the block ends.

    Args:
        path: The file; an older one of the name is overwritten.

    Yields:
        BinaryIO: The file, open for writing.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def rename(temporary: Path, path: Path) -> None:
    """Give a complete file or folder its name, on disk before this returns.

    Args:
        temporary: What was written, in the same folder.
        path: Its name; an older file of the name is replaced.

    Raises:
        OSError: It cannot be renamed.
    """
    os.replace(temporary, path)
    flush_folder(path.parent)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, on disk before this returns.

    Args:
        path: The file; an older one of the name is replaced.
        content: All its bytes.

    Raises:
        OSError: The file cannot be written; an older one is as it was.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with flushed(temporary) as file:
            file.write(content)
        rename(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def flush_folder(folder: Path) -> None:
    """Have a folder's names on disk, where folders can be opened.

    Args:
        folder: Where files were made or renamed.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
