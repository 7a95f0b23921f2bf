"""How well a network trained on one data set names the images of another: CIFAR-10 to STL-10 in MAN's supplement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from locallearn.datasets.batches import Batches
from locallearn.datasets.image_set import ImageSet
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError, listed
from locallearn.recipes.choices import suggestion
from locallearn.training.evaluation import evaluating

SYNONYMS = {"car": "automobile"}
"""Class names of STL-10 as CIFAR-10 has them."""
_CHUNK = 500
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Transfer:
    """What a network made of the images of another data set, counted in the three ways that can be meant.

    Args:
        counts: (tested classes, outputs), int64: images of each class by their largest output.
        outputs: For each tested class the output that stands for it; None if the network was trained on no such class.
    """

    counts: Tensor
    outputs: tuple[int | None, ...]

    @property
    def mapped(self) -> float:
        """Percent right among images whose class was trained on; images of other classes are left out."""
        return self._percent(self.outputs, self.images - self.images_without_class)

    @property
    def mapped_of_all(self) -> float:
        """Percent right among all images; images of classes that were not trained on are wrong."""
        return self._percent(self.outputs, self.images)

    @property
    def raw(self) -> float:
        """Percent of all images whose label equals the output's index, as if both data sets had one order of classes.

        It is what the released code's accuracy would be, were its data set alone changed: it compares indices.
        """
        return self._percent(tuple(range(min(self.counts.shape))), self.images)

    @property
    def images(self) -> int:
        """Images in all."""
        return int(self.counts.sum())

    @property
    def images_without_class(self) -> int:
        """Images of classes that were not trained on."""
        return sum(int(self.counts[label].sum()) for label, output in enumerate(self.outputs) if output is None)

    def results(self) -> dict[str, float]:
        """All of it by name.

        Returns:
            `mapped_accuracy`, `mapped_accuracy_of_all` and `raw_accuracy` in percent; `images`, `images_without_class`.
        """
        return {
            "mapped_accuracy": self.mapped,
            "mapped_accuracy_of_all": self.mapped_of_all,
            "raw_accuracy": self.raw,
            "images": self.images,
            "images_without_class": self.images_without_class,
        }

    def _percent(self, outputs: Sequence[int | None], total: int) -> float:
        right = [int(self.counts[label, output]) for label, output in enumerate(outputs) if output is not None]
        return 100 * sum(right) / max(total, 1)


def transfer(
    network: nn.Module,
    images: ImageSet,
    *,
    trained_on: DatasetSpec,
    class_map: Mapping[str, str] | None = None,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
) -> Transfer:
    """Classify images of another data set, brought to the size and normalisation of the one trained on.

    Args:
        network: On `device`; gives logits (N, outputs), the first of them for the classes of `trained_on`.
        images: Of the other data set, with its class names.
        trained_on: Whose size, mean and standard deviation the images get.
        class_map: For classes of the images the class of `trained_on` that stands for each; all others count as not
            trained on. None matches by name.
        batch_size: Images per batch.
        device: Where to compute.

    Returns:
        The counts.

    Raises:
        InputError: The data sets have no class in common, `class_map` names classes that are not there, or there are
            no images.

    Source: MAN, supplement, section 3 (35.98 to 37.55 % for ResNet-32); neither the size, the normalisation nor the
        mapping of the classes is stated there, and no code is released.
    """
    if class_map is None:
        outputs = class_mapping(trained_on.classes, images.classes)
    else:
        outputs = given_mapping(class_map, trained_on.classes, images.classes)
    if not any(output is not None for output in outputs):
        raise InputError(
            f"A network trained on {trained_on.title} knows none of the classes {_some(images.classes)}. Its own are "
            f"{_some(trained_on.classes)}: say which stands for which by a class map (--classes FILE)."
        )
    small = ImageSet(resized(images.images, trained_on.shape[1:]), images.labels, images.classes)
    options = {"seed": 0, "augmentation": None, "shuffle": False}
    counts = None
    with evaluating(network):
        for inputs, labels in Batches(small, batch_size, spec=trained_on, device=device, **options).epoch(0):
            logits = network(inputs)
            shape = len(images.classes), logits.shape[1]
            cells = torch.bincount(labels * shape[1] + logits.argmax(1), minlength=shape[0] * shape[1]).view(shape)
            counts = cells if counts is None else counts + cells
    assert counts is not None
    return Transfer(counts.cpu(), outputs)


def class_mapping(trained: Sequence[str], tested: Sequence[str]) -> tuple[int | None, ...]:
    """Which output stands for each class of another data set, by name.

    Args:
        trained: Class names in the order of the outputs.
        tested: Class names of the other data set.

    Returns:
        Indices into `trained`; None for a class that is not there. STL-10's car is CIFAR-10's automobile; its monkey
        is none of CIFAR-10's, and CIFAR-10's frog is never right.
    """
    places = {SYNONYMS.get(name, name): output for output, name in enumerate(trained)}
    return tuple(places.get(SYNONYMS.get(name, name)) for name in tested)


def given_mapping(
    class_map: Mapping[str, str], trained: Sequence[str], tested: Sequence[str]
) -> tuple[int | None, ...]:
    """Which output stands for each class of another data set, as somebody says; one may stand for several.

    Args:
        class_map: Names of tested classes, and for each the name of the class trained on.
        trained: Class names in the order of the outputs.
        tested: Class names of the other data set.

    Returns:
        Indices into `trained`; None for classes that the map leaves out.

    Raises:
        InputError: Names are none of the classes; all of them are told at once.
    """
    sides = (("tested", class_map, tested), ("trained on", dict.fromkeys(class_map.values()), trained))
    problems = [
        f"{name!r} is none of the classes {which}.{suggestion(name, known)} They are {_some(known)}."
        for which, names, known in sides
        for name in names
        if name not in known
    ]
    if problems:
        raise InputError(listed(problems))
    return tuple(trained.index(class_map[name]) if name in class_map else None for name in tested)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images of another size: bilinear with antialiasing, rounded to 8 bits, as torchvision resizes PIL images.

    Args:
        images: (N, C, H, W), uint8.
        size: Height and width wanted.

    Returns:
        (N, C, height, width), uint8; the images themselves if they have that size.
    """
    from torchvision.transforms.v2 import functional

    if tuple(images.shape[2:]) == tuple(size):
        return images
    return torch.cat([functional.resize(chunk, list(size), antialias=True) for chunk in images.split(_CHUNK)])
