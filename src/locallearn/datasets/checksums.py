"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


class Checksums(NamedTuple):
    """The two checksums of one file, in hexadecimal."""

    md5: str
    sha256: str


def checksums(path: Path) -> Checksums:
    """Both checksums of a file, read once in pieces.

    Args:
        path: The file.

    Returns:
        MD5, which the authors of data sets publish, and SHA-256.
    """
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            md5.update(piece)
            sha256.update(piece)
    return Checksums(md5.hexdigest(), sha256.hexdigest())


def file_md5(path: Path) -> str:
    """The MD5 of a file.

    Args:
        path: The file.

    Returns:
        32 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def bytes_md5(content: bytes) -> str:
    """The MD5 of bytes in memory.

    Args:
        content: The bytes.

    Returns:
        32 hexadecimal digits.
    """
    return _md5(content).hexdigest()


def _md5(content: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(content, usedforsecurity=False)
