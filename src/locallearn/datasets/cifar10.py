"""CIFAR-10."""

from __future__ import annotations

import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from locallearn.datasets.arrays import ImageArrays
from locallearn.datasets.layout import Layout
from locallearn.datasets.official_files import OfficialFiles
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.errors import InputError

SPEC = DatasetSpec(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(3, 32, 32),
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
    augmentation=Augmentation(pad=4, padding="reflect", flip=True),
    source="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009; constants: InfoPro's train.py",
    licence="none stated; the authors ask to be cited",
    files="cifar-10-python.tar.gz or cifar-10-batches-py/ (or the binary version)",
    address="https://www.cs.toronto.edu/~kriz/cifar.html",
    notes="The papers describe zero padding; the released code pads by reflection, which is what stands here.",
)

PYTHON = OfficialFiles(
    splits={"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
    md5={
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
)
BINARY = OfficialFiles(
    splits={"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
    md5={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
)
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
_IMAGE_BYTES = 3 * 32 * 32
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def find(root: Path | None) -> Layout | None:
    """The published files, as archive or unpacked, in the python or the binary version.

    Args:
        root: The archive, its unpacked folder, or the folder that holds either.

    Returns:
        The layout, or None if there is none of these.
    """
    for version, files, read in (("python", PYTHON, read_python), ("binary", BINARY, read_binary)):
        if root is not None and (location := files.locate(root)) is not None:
            return Layout(
                f"official files, {version} version", files.paths(location), partial(read, location), files.md5
            )
    return None


def download(root: Path, *, url: str = URL, md5: str = PYTHON.md5[PYTHON.archive], size: int = ARCHIVE_BYTES) -> None:
    """Fetch the archive of the python version; it is read as it is, without unpacking.

    Args:
        root: The folder to put it in.
        url: Where it is published.
        md5: Its published checksum.
        size: Its size in bytes.

    Raises:
        InputError: The archive cannot be fetched or written, or is not the published one.
    """
    from locallearn.datasets.download import download_with_bar

    download_with_bar(url, root / PYTHON.archive, md5=md5, size=size)


def read_python(location: Path, split: str, files: OfficialFiles = PYTHON) -> ImageArrays:
    """The python version, pickled by Python 2: opened only after its checksums agree, with nothing but arrays allowed.

    Args:
        location: The archive or the unpacked folder.
        split: 'train' or 'test'.
        files: What was published.

    Returns:
        Images and labels.

    Raises:
        InputError: Files are missing, are not the published ones, or hold something else.
    """
    batches = []
    for name, content in files.contents(location, split).items():
        try:
            batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
            images = np.asarray(batch["data"], np.uint8).reshape(-1, *SPEC.shape)
            batches.append((images, np.asarray(batch["labels"], np.int64)))
        except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{location / name} is not a CIFAR-10 batch ({error}): fetch it again.") from error
    return ImageArrays(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def read_binary(location: Path, split: str, files: OfficialFiles = BINARY) -> ImageArrays:
    """The binary version: records of one label byte and 3,072 pixel bytes.

    Args:
        location: The archive or the unpacked folder.
        split: 'train' or 'test'.
        files: What was published.

    Returns:
        Images and labels.

    Raises:
        InputError: Files are missing, are not the published ones, or are not whole records.
    """
    contents = files.contents(location, split)
    if broken := [str(location / name) for name, content in contents.items() if len(content) % (1 + _IMAGE_BYTES)]:
        raise InputError(
            f"{', '.join(broken)}: not whole records of {1 + _IMAGE_BYTES} bytes. Fetch the published files again."
        )
    records = np.frombuffer(b"".join(contents.values()), np.uint8).reshape(-1, 1 + _IMAGE_BYTES)
    return ImageArrays(records[:, 1:].reshape(-1, *SPEC.shape), records[:, 0].astype(np.int64))


class _ArraysOnly(pickle.Unpickler):
    """A reader of NumPy arrays and plain Python values; whatever else a pickle asks for is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return _ALLOWED[module_name, global_name]
