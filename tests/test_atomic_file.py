"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from locallearn import atomic_file


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_file_is_replaced_whole_or_not_at_all(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "summary.json"
    atomic_file.write(path, b"old")
    atomic_file.write(path, b"new")
    assert path.read_bytes() == b"new"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space"):
        atomic_file.write(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [child.name for child in tmp_path.iterdir()] == ["summary.json"]


def test_content_is_on_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: list[str] = []

    def fsync(descriptor: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_file.write(tmp_path / "a", b"content")
    assert flushed == [".saving-a", tmp_path.name]
