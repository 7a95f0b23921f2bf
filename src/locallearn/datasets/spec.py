"""What a data set is, in words and numbers: the types every data set's file fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from locallearn.datasets.samples import SampleTransform
from locallearn.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """How a training image is varied: padded, cropped back at a random place, and mirrored half of the time.

    Args:
        pad: Pixels added on each side before the crop; 0 for no crop.
        padding: What the added pixels hold: the image mirrored at its edge (the edge itself not repeated), or black.
        flip: Whether an image is mirrored left to right with probability 1/2.

    Raises:
        InputError: `pad` is negative, or `padding` is neither of the two.
    """

    pad: int
    padding: Literal["reflect", "zeros"]
    flip: bool

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise InputError(f"augmentation.pad must be at least 0 (no crop), not {self.pad}.")
        if self.padding not in {"reflect", "zeros"}:
            raise InputError(f"augmentation.padding must be 'reflect' or 'zeros', not {self.padding!r}.")


def varied(augmentation: Augmentation | SampleTransform, changes: Mapping[str, Any]) -> Augmentation | SampleTransform:
    """An augmentation with other values in some of its fields.

    Args:
        augmentation: A frozen dataclass.
        changes: Values by the names of its fields.

    Returns:
        Another of the same class.
    """
    return replace(cast(Any, augmentation), **changes)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One data set as the rest of the package sees it.

    Args:
        name: Its name on the command line and in recipes.
        title: Its name in prose.
        classes: The class names; a label is an index into them.
        shape: Channels, height and width of every image, or of what a training step reads where images differ.
        mean: Per channel, subtracted from pixels in [0, 1].
        std: Per channel, dividing what is left.
        augmentation: The published training augmentation; a `SampleTransform` where samples are read one by one.
        source: Where the data and the constants above come from.
        licence: What the data's authors allow, as far as they say.
        files: What to put into the data set's folder, for messages.
        address: Where the authors publish it.
        notes: Differences between papers and released code that matter when numbers are compared.
        task: What its targets are for.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation | SampleTransform
    source: str
    licence: str
    files: str
    address: str
    notes: str = ""
    task: Literal["classification", "segmentation", "detection"] = "classification"

    @property
    def by_lists(self) -> bool:
        """Whether a batch is a list of images, each of its own size, and a list of targets."""
        return self.task == "detection"

    def with_outputs(self, count: int | None) -> DatasetSpec:
        """The same data set with more outputs than it has classes, as released code for STL-10 has.

        Args:
            count: How many; None for one per class.

        Returns:
            A description whose further classes are named 'unused-10' and so on.

        Raises:
            InputError: The outputs are fewer than the classes.
        """
        if count is not None and count < len(self.classes):
            raise InputError(
                f"num_classes must be at least {len(self.classes)}, the classes of {self.name}, not {count}."
            )
        unused = tuple(f"unused-{index}" for index in range(len(self.classes), count or 0))
        return replace(self, classes=self.classes + unused)
