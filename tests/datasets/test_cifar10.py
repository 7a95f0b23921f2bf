from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from locallearn.datasets import cifar10
from locallearn.datasets.checksums import file_md5
from locallearn.datasets.official_files import OfficialFiles
from locallearn.errors import InputError

NAMES = (*cifar10.PYTHON.splits["train"], *cifar10.PYTHON.splits["test"])
ROWS = 4


class Python2(pickle._Pickler):
    """Writes arrays as Python 2 did: the module under its old name, bytes as a plain string."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    def save_global(self, thing: object, name: str | None = None) -> None:
        module, name = thing.__module__.replace("numpy._core", "numpy.core"), name or thing.__qualname__
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(thing)

    dispatch[bytes] = save_bytes
    dispatch[type] = save_global
    dispatch[type(len)] = save_global


def pixels_of(number: int) -> np.ndarray:
    return np.random.RandomState(number).randint(0, 256, (ROWS, 3072)).astype(np.uint8)


def batch(number: int) -> bytes:
    labels = [(number + row) % 10 for row in range(ROWS)]
    file = io.BytesIO()
    Python2(file, protocol=2).dump({"batch_label": "x", "data": pixels_of(number), "labels": labels})
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(batch(number))
    return folder


def with_md5_of(folder: Path) -> OfficialFiles:
    return replace(cifar10.PYTHON, md5={path.name: file_md5(path) for path in folder.iterdir()})


def test_python_version_from_its_folder(folder: Path) -> None:
    train = cifar10.read_python(folder, "train", with_md5_of(folder))
    assert train.images.shape == (5 * ROWS, 3, 32, 32)
    assert np.array_equal(train.images[2 * ROWS + 1].reshape(-1), pixels_of(2)[1])
    assert train.labels.tolist() == [(number + row) % 10 for number in range(5) for row in range(ROWS)]
    test = cifar10.read_python(folder, "test", with_md5_of(folder))
    assert np.array_equal(test.images.reshape(ROWS, -1), pixels_of(5))


def test_python_version_from_its_archive(folder: Path) -> None:
    archive = folder.parent / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    files = with_md5_of(folder)
    files = replace(files, md5={**files.md5, archive.name: file_md5(archive)})
    from_folder, from_archive = (cifar10.read_python(place, "train", files) for place in (folder, archive))
    assert all(map(np.array_equal, from_folder, from_archive))
    assert not list(folder.parent.glob("*.part"))
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz has MD5"):
        cifar10.read_python(archive, "train", replace(files, md5={**files.md5, archive.name: "0" * 32}))


def test_checksums_are_compared_before_anything_is_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = with_md5_of(folder)
    damaged = folder / "data_batch_5"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    opened = []
    monkeypatch.setattr(cifar10, "_ArraysOnly", lambda *args, **kwargs: opened.append(args))
    with pytest.raises(InputError, match="data_batch_5 has MD5"):
        cifar10.read_python(folder, "train", files)
    assert not opened


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("content", [Evil(), {"data": Evil()}, {"labels": 3}, [1, 2], {"data": "x", "labels": []}])
def test_a_pickle_of_something_else_is_refused_unexecuted(folder: Path, content: object) -> None:
    (folder / "test_batch").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="test_batch is not a CIFAR-10 batch"):
        cifar10.read_python(folder, "test", with_md5_of(folder))


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "data_batch_2").unlink()
    with pytest.raises(InputError, match="lacks data_batch_2;"):
        cifar10.read_python(folder, "train", with_md5_of(folder))


def test_every_published_file_has_its_checksum() -> None:
    assert set(cifar10.PYTHON.md5) == {*NAMES, "cifar-10-python.tar.gz"}
    assert all(len(md5) == 32 for md5 in cifar10.PYTHON.md5.values())


def test_binary_version(tmp_path: Path) -> None:
    for number, name in enumerate((*cifar10.BINARY.splits["train"], *cifar10.BINARY.splits["test"])):
        labels = np.arange(number, number + ROWS, dtype=np.uint8)[:, None]
        (tmp_path / name).write_bytes(np.concatenate([labels, pixels_of(number)], axis=1).tobytes())
    layout = cifar10.find(tmp_path)
    assert layout is not None
    assert layout.name == "official files, binary version"
    train, test = layout.read("train"), layout.read("test")
    assert np.array_equal(train.images[ROWS].reshape(-1), pixels_of(1)[0])
    assert test.labels.tolist() == [5, 6, 7, 8]
    with (tmp_path / "test_batch.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="3073 bytes"):
        layout.read("test")


def test_found_in_the_folder_above_the_folder_and_the_archive(folder: Path) -> None:
    for root in (folder, folder.parent):
        layout = cifar10.find(root)
        assert layout is not None
        assert layout.files["test"] == (folder / "test_batch",)
    archive = folder.parent / "empty" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"")
    for root in (archive, archive.parent):
        layout = cifar10.find(root)
        assert layout is not None
        assert layout.files["train"] == (archive,)
    assert cifar10.find(folder.parent / "elsewhere") is None
    assert cifar10.find(None) is None


def test_an_unreadable_archive_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"no tar")
    files = replace(cifar10.PYTHON, md5={archive.name: hashlib.md5(b"no tar").hexdigest()})
    with pytest.raises(InputError, match="cannot be read as a tar archive"):
        cifar10.read_python(archive, "train", files)
