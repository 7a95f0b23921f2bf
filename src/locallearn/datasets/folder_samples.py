"""Images in class folders, decoded when they are asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from locallearn.datasets.class_folders import image_names
from locallearn.datasets.decode import decode_colour

if TYPE_CHECKING:
    from torch import Tensor


class FolderSamples:
    """The images of one split, class by class, by name within a class.

    File names are kept as bytes in one array: a million of them take some 30 MB, and processes that load images share
    them.

    Args:
        folder: Holds a folder for each class.
        classes: The folders, in the order of the labels.

    Attributes:
        classes: As given.
        labels: (N,), int64.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        names = [np.array([os.fsencode(name) for name in image_names(folder / label)], "S") for label in classes]
        self.classes = classes
        self.labels = np.repeat(np.arange(len(classes)), [len(files) for files in names])
        self._folder = folder
        self._names = np.concatenate(names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, decoded.

        Args:
            index: Which one, from 0.

        Returns:
            (3, H, W) uint8, and its label.

        Raises:
            InputError: The file cannot be used as an image; its path is named.
        """
        import torch

        label = int(self.labels[index])
        path = self._folder / self.classes[label] / os.fsdecode(self._names[index])
        return torch.from_numpy(decode_colour(lambda: path.open("rb"), str(path))), label
