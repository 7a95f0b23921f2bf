"""The files a data set's authors publish: where they lie, and that they are the published ones."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from locallearn.datasets.arrays import DataProblems
from locallearn.datasets.checksums import bytes_md5, file_md5
from locallearn.errors import InputError


@dataclass(frozen=True)
class OfficialFiles:
    """What was published under which names.

    Args:
        splits: The files of 'train' and 'test', in reading order.
        md5: Published checksums by file name, the archive's included; files without one are not compared.
        folder: The folder the archive unpacks to; '' where files are published singly.
        archive: The archive's name; '' where there is none.
    """

    splits: Mapping[str, tuple[str, ...]]
    md5: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    archive: str = ""

    def locate(self, root: Path) -> Path | None:
        """Where the files are.

        Args:
            root: The folder itself, the one above, or the archive.

        Returns:
            A folder that holds at least one of the files, else the archive, else None.
        """
        names = [name for split in self.splits.values() for name in split]
        for folder in (root, root / self.folder):
            if any((folder / name).is_file() for name in names):
                return folder
        archives = [path for path in (root, root / self.archive) if self.archive and path.name == self.archive]
        return next((path for path in archives if path.is_file()), None)

    def paths(self, location: Path) -> dict[str, tuple[Path, ...]]:
        """The files on disk that a split needs.

        Args:
            location: What `locate` found.

        Returns:
            For each split the files in the folder, or the archive.
        """
        if location.is_file():
            return dict.fromkeys(self.splits, (location,))
        return {split: tuple(location / name for name in names) for split, names in self.splits.items()}

    def contents(self, location: Path, split: str) -> dict[str, bytes]:
        """The bytes of a split's files, none of them used before all checksums agree.

        Args:
            location: What `locate` found.
            split: 'train' or 'test'.

        Returns:
            File name to bytes, in reading order.

        Raises:
            InputError: Files are missing or are not the published ones.
        """
        names = self.splits[split]
        if location.is_file():
            self._demand({location: file_md5(location)})
            found = _members(location, names)
        else:
            found = {name: (location / name).read_bytes() for name in names if (location / name).is_file()}
        if missing := [name for name in names if name not in found]:
            raise InputError(f"{location} lacks {', '.join(missing)}; fetch the published files again.")
        self._demand({location / name: bytes_md5(found[name]) for name in names})
        return {name: found[name] for name in names}

    def _demand(self, found: Mapping[Path, str]) -> None:
        wrong = [
            f"{path} has MD5 {md5}, the published file {self.md5[path.name]}: it is damaged or another file; "
            "fetch it again (images of your own go into class folders or parquet files)."
            for path, md5 in found.items()
            if self.md5.get(path.name, md5) != md5
        ]
        if wrong:
            raise DataProblems(wrong)


def _members(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    # Members are read by the last part of their name and nothing is unpacked to disk: no path in an archive matters.
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                if name in names and (file := tar.extractfile(member)) is not None:
                    found[name] = file.read()
                if len(found) == len(names):
                    break
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{archive} cannot be read as a tar archive ({error}): fetch it again.") from error
    return found
