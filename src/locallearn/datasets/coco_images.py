"""Images in COCO's format, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from locallearn.datasets.arrays import named
from locallearn.datasets.decode import COLOUR_MODES, FORMATS, UNREADABLE, decode_colour
from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from locallearn.datasets.coco_file import AnnotatedImage, Annotation, CocoFile

_MOST_HEADERS = 1000


class CocoImages:
    """A split of a data set in COCO's format.

    Grey, palette and CMYK images are converted to colour, transparency is dropped. A box may be of any fraction of a
    pixel; masks are what the outlines of polygons or run lengths cover, as pycocotools paints them.

    Args:
        file: Images and objects.
        training: To train: crowds are left out, and so are images without any other object, as torchvision's training
            script does. To test all images are kept, and crowds are marked by `iscrowd`.
    """

    def __init__(self, file: CocoFile, *, training: bool) -> None:
        self.classes = file.classes
        self._file = file.path
        self._training = training
        self._has_masks = file.has_masks
        kept = (each for each in file.images if not training or any(not o.is_crowd for o in each.objects))
        self._images = tuple(kept)

    def __str__(self) -> str:
        return str(self._file)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One image and its objects.

        Args:
            index: Which one, from 0.

        Returns:
            The image, (3, H, W) uint8; `boxes`, `labels` from 1, `masks` if the file has outlines, `image_id` as the
            file has it, and to test `iscrowd`.

        Raises:
            InputError: The image cannot be decoded, or is of another size than the file says, or an outline cannot be
                painted; image and annotation are named.
        """
        import torch

        image = self._images[index]
        _checked_header(image)
        pixels = decode_colour(lambda: image.path.open("rb"), str(image.path))
        objects = [each for each in image.objects if not (self._training and each.is_crowd)]
        target = {
            "boxes": torch.tensor([each.box for each in objects], dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([each.label for each in objects], dtype=torch.int64),
            "image_id": torch.tensor(image.number),
        }
        if self._has_masks:
            masks = [_painted(each, image) for each in objects]
            target["masks"] = torch.from_numpy(np.array(masks, np.uint8).reshape(-1, image.height, image.width))
        if not self._training:
            target["iscrowd"] = torch.tensor([each.is_crowd for each in objects], dtype=torch.int64)
        return torch.from_numpy(pixels), target

    def problems(self) -> list[str]:
        """What is wrong with the images, as far as it is cheap to see: the headers of up to 1,000, evenly spread.

        Returns:
            A sentence for each kind of problem, with the first files.
        """
        bad = []
        for image in self._images[:: max(1, len(self) // _MOST_HEADERS)]:
            try:
                _checked_header(image)
            except InputError as error:
                bad.append(str(error).removesuffix("."))
        found = [f"{len(bad)} of {len(self)} images cannot be used: {named(bad)}."] if bad else []
        return found if len(self) else ["No image has an object to train on." if self._training else "No images."]


def _checked_header(image: AnnotatedImage) -> None:
    """Refuse a file that is no image, or of another size, from its first bytes."""
    from PIL import Image

    try:
        with Image.open(image.path, formats=FORMATS) as opened:
            size, mode = (opened.height, opened.width), opened.mode
    except UNREADABLE as error:
        raise InputError(f"{image.path} cannot be read as an image ({error}).") from error
    if size != (image.height, image.width):
        raise InputError(f"{image.path} is {size[1]}x{size[0]}, its annotations are for {image.width}x{image.height}.")
    if mode not in COLOUR_MODES:
        raise InputError(f"{image.path} has pixels of kind {mode}, which are not 8-bit: convert it to colour (RGB).")


def _painted(annotation: Annotation, image: AnnotatedImage) -> np.ndarray:
    """The pixels that polygons or run lengths cover, (height, width)."""
    try:
        return _decoded(annotation.outline, image.height, image.width)
    except Exception as error:  # pycocotools raises bare ones
        raise InputError(
            f"The outline of annotation {annotation.number} on {image.path} cannot be painted ({error}): give polygons "
            "or run lengths of the image's size, or leave the annotation out."
        ) from error


def _decoded(outline: Any, height: int, width: int) -> np.ndarray:
    from pycocotools import mask

    tools: Any = mask
    if isinstance(outline, Sequence):
        return tools.decode(tools.merge(tools.frPyObjects(outline, height, width)))
    compressed = not isinstance(outline["counts"], list)
    return tools.decode(outline if compressed else tools.frPyObjects(outline, height, width))
