"""An append-only file of JSON objects, one a line, that can be cut back to where a checkpoint saw it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from locallearn.errors import InputError


class JsonLines:
    """One log of a run. The same records always give the same bytes.

    Args:
        path: The file; made by the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def position(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record as a line and have it on disk before returning.

        Args:
            record: Plain data without NaN or infinity; keys keep their order.
        """
        line = json.dumps(record, allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def truncate(self, position: int) -> None:
        """Forget what was written after a checkpoint.

        Args:
            position: Bytes at the time of the checkpoint.

        Raises:
            InputError: The file is shorter than that, so somebody else has changed it.
        """
        if self.position < position:
            raise InputError(
                f"{self.path} has {self.position} bytes but the checkpoint saw {position}: "
                "restore the file, or start the run again in an empty folder."
            )
        if self.path.exists():
            os.truncate(self.path, position)

    def records(self) -> list[dict[str, Any]]:
        """All records in order.

        Returns:
            One dictionary per line; none if the file does not exist.

        Raises:
            InputError: A line is cut short or holds something else.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [self._record(line, number) for number, line in enumerate(lines, 1)]

    def _record(self, line: str, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise InputError(f"Line {number} of {self.path} is no record of a run: restore the file, or leave it out.")
        return record
