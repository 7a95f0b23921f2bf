"""Generated images of overlapping shapes with boxes and masks: the detection data set that needs no download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from locallearn.datasets.detection_transform import DetectionTransform
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from locallearn.datasets.image_set import Splits

SIZE = 128
SPEC = DatasetSpec(
    name="shapes",
    title="Generated shapes",
    classes=("circle", "square", "triangle"),
    shape=(3, SIZE, SIZE),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augmentation=DetectionTransform(),
    source="This package: every image is drawn from a random seed of its own",
    licence="Apache-2.0",
    files="nothing (images are generated)",
    address="https://github.com/locallearn/locallearn",
    notes="Mean and standard deviation are not applied to the images: detectors normalise by their own, which in this "
    "package are the same by default.",
    task="detection",
)
GENERATED = True
"""There are no files, so that `check-data` names none."""
TRAIN_IMAGES, TEST_IMAGES = 2000, 300
_ROUND = 64
_SIDES = {"circle": _ROUND, "square": 4, "triangle": 3}
_LEAST_VISIBLE = 0.4
_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Circles, squares and triangles of any colour on textured ground, the later over the earlier.

    Image i depends on the seed, the split and i alone. Masks are what is visible, boxes enclose what is visible, as in
    COCO, and at least 2/5 of every object is. Squares and triangles are turned by any angle. The longer side of an
    object's whole box is drawn evenly on a logarithmic scale; it never leaves the image.

    Args:
        count: How many images.
        seed: Of the whole data set.
        split: 0 to train and 1 to test: images of different splits are drawn from different seeds.
        size: Height and width of the images.
        smallest: Longer side, in pixels, of the smallest objects before others hide a part.
        largest: That of the largest.
        most: Objects are 1 to this many, unless no room is found for one.

    Raises:
        InputError: A number is out of range.
    """

    count: int
    seed: int = 0
    split: int = 0
    size: int = SIZE
    smallest: int = 16
    largest: int = 96
    most: int = 5

    def __post_init__(self) -> None:
        if not (0 < self.smallest <= self.largest <= self.size and self.most > 0 and self.count > 0):
            raise InputError(
                "Shapes need at least one image, one object, and 0 < smallest <= largest <= size, not count "
                f"{self.count}, most {self.most}, {self.smallest} to {self.largest} in {self.size} pixels."
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names; label 1 is the first."""
        return SPEC.classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One image, drawn.

        Args:
            index: Which one, from 0.

        Returns:
            The image, (3, size, size) uint8, and its target, see `Samples`.

        Raises:
            IndexError: There is no such image.
        """
        import torch

        if not 0 <= index < self.count:
            raise IndexError(f"image {index} of {self.count}")
        pixels, masks, labels = self._drawn(np.random.RandomState([self.seed, self.split, index]))
        boxes = np.array([_box(mask) for mask in masks], np.float32)
        target = {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(labels + 1),
            "masks": torch.from_numpy(masks.astype(np.uint8)),
            "image_id": torch.tensor(index),
        }
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), target

    def _drawn(self, draws: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels (size, size, 3), visible masks (n, size, size) and classes (n,)."""
        pixels = _texture(draws, self.size, contrast=draws.uniform(20, 60))
        masks, labels, areas = np.zeros((0, self.size, self.size), bool), [], np.zeros(0)
        for _ in range(draws.randint(1, self.most + 1)):
            for _ in range(_TRIES):
                label = draws.randint(len(SPEC.classes))
                whole = self._silhouette(draws, label)
                visible = masks & ~whole
                if (visible.sum((1, 2)) >= _LEAST_VISIBLE * areas).all():
                    paint = _texture(draws, self.size, contrast=draws.uniform(0, 30))
                    pixels[whole] = paint[whole]
                    masks = np.concatenate([visible, whole[None]])
                    areas = np.append(areas, whole.sum())
                    labels.append(label)
                    break
        pixels += draws.uniform(-1, 1, pixels.shape) * draws.uniform(5, 20)
        return pixels.clip(0, 255).astype(np.uint8), masks, np.array(labels, np.int64)

    def _silhouette(self, draws: np.random.RandomState, label: int) -> np.ndarray:
        """The pixels of one shape of a random place, size and angle."""
        extent = np.exp(draws.uniform(np.log(self.smallest), np.log(self.largest)))
        angle = draws.uniform(0, 2 * np.pi)
        sides = _SIDES[SPEC.classes[label]]
        corners = angle + 2 * np.pi / sides * np.arange(sides)
        points = np.stack([np.sin(corners), np.cos(corners)], 1)
        low, high = points.min(0), points.max(0)
        radius = extent / (high - low).max()
        centre = draws.uniform(-radius * low, self.size - radius * high)
        places = np.arange(self.size) + 0.5
        y, x = (places[:, None] - centre[0]) / radius, (places[None, :] - centre[1]) / radius
        if sides == _ROUND:
            return x * x + y * y < 1
        # Inside of each side of a regular polygon.
        faces = corners + np.pi / sides
        return np.all([np.sin(face) * y + np.cos(face) * x < np.cos(np.pi / sides) for face in faces], axis=0)


def open_splits(spec: DatasetSpec, root: Path | None, *, download: bool = False) -> Splits:
    """Images to train and to test, from different seeds.

    Args:
        spec: The description.
        root: Must be None: there are no files.
        download: Nothing is fetched.

    Returns:
        2,000 images to train and 300 to test.

    Raises:
        InputError: A folder is given.
    """
    from locallearn.datasets.image_set import Splits

    if root is not None:
        raise InputError(f"The data set shapes is generated and reads no files; leave out {root}, or use coco.")
    return Splits(spec, Shapes(count=TRAIN_IMAGES), None, Shapes(count=TEST_IMAGES, split=1))


def _texture(draws: np.random.RandomState, size: int, contrast: float) -> np.ndarray:
    """A colour that varies smoothly over (size, size, 3)."""
    coarse = draws.uniform(30, 225, 3) + draws.normal(0, contrast, (draws.randint(2, 12), draws.randint(2, 12), 3))
    rows, columns = (_between(number, size) for number in coarse.shape[:2])
    return np.stack([rows @ coarse[:, :, channel] @ columns.T for channel in range(3)], axis=2)


def _between(number: int, size: int) -> np.ndarray:
    """Weights (size, number) of linear interpolation between as many evenly spaced values."""
    place = np.linspace(0, number - 1, size)
    return np.clip(1 - np.abs(place[:, None] - np.arange(number)[None, :]), 0, 1)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 around a mask; the right and lower borders of its last pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
