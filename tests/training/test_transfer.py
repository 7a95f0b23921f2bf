from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from locallearn.datasets import cifar10, digits, stl10, svhn
from locallearn.datasets.image_set import ImageSet
from locallearn.errors import InputError
from locallearn.training.transfer import Transfer, class_mapping, given_mapping, resized, transfer

CIFAR, STL = cifar10.SPEC, stl10.SPEC
PER_CLASS = 3


class Knows(nn.Module):
    """Tells the class by the brightness of the red channel, which is 20 k for CIFAR-10's class k, and 200 for none."""

    def __init__(self, wrong: int | None = None) -> None:
        super().__init__()
        self.wrong = wrong
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.seen.append(tuple(x.shape))
        red = (x[:, 0].mean((1, 2)) * CIFAR.std[0] + CIFAR.mean[0]) * 255
        classes = (red / 20).round().long()
        classes[classes == 10] = CIFAR.classes.index("frog")
        if self.wrong is not None:
            classes[classes == self.wrong] = 0
        return nn.functional.one_hot(classes, 10).float()


def stl_images() -> ImageSet:
    """Three images of each class, flat in red as `Knows` reads it, by CIFAR-10's names."""
    names = [{"car": "automobile"}.get(name, name) for name in STL.classes]
    reds = [20 * CIFAR.classes.index(name) if name in CIFAR.classes else 200 for name in names]
    images = torch.randint(0, 256, (10 * PER_CLASS, 3, 96, 96), dtype=torch.uint8)
    images[:, 0] = torch.tensor(reds, dtype=torch.uint8).repeat_interleave(PER_CLASS)[:, None, None]
    return ImageSet(images, torch.arange(10).repeat_interleave(PER_CLASS), STL.classes)


def test_the_mapping_of_the_classes_is_by_name() -> None:
    assert class_mapping(CIFAR.classes, STL.classes) == (0, 2, 1, 3, 4, 5, 7, None, 8, 9)
    assert class_mapping(STL.classes, CIFAR.classes) == (0, 2, 1, 3, 4, 5, None, 6, 8, 9)
    assert class_mapping(CIFAR.classes, CIFAR.classes) == tuple(range(10))


def test_a_network_that_is_always_right() -> None:
    network = Knows()
    found = transfer(network, stl_images(), trained_on=CIFAR, batch_size=7)
    assert found.mapped == 100 and found.mapped_of_all == 90
    # Only airplane, cat, deer, dog, ship and truck have the same index in both.
    assert found.raw == 60
    assert (found.images, found.images_without_class) == (30, 3)
    assert network.seen == [(7, 3, 32, 32)] * 4 + [(2, 3, 32, 32)]
    assert network.training


def test_a_network_that_takes_horses_for_airplanes() -> None:
    found = transfer(Knows(wrong=CIFAR.classes.index("horse")), stl_images(), trained_on=CIFAR)
    assert found.results() == {
        "mapped_accuracy": pytest.approx(800 / 9),
        "mapped_accuracy_of_all": 80.0,
        "raw_accuracy": 60.0,
        "images": 30,
        "images_without_class": 3,
    }


def test_a_network_that_says_frog_to_everything_is_right_only_in_the_raw_reading() -> None:
    counts = torch.zeros(10, 10, dtype=torch.int64)
    counts[:, CIFAR.classes.index("frog")] = 5
    found = Transfer(counts, class_mapping(CIFAR.classes, STL.classes))
    assert (found.mapped, found.mapped_of_all, found.raw) == (0, 0, 10)


def test_more_outputs_than_classes() -> None:
    wide = replace(CIFAR.with_outputs(100))
    network = nn.Sequential(Knows(), nn.ZeroPad2d((0, 90, 0, 0)))
    assert transfer(network, stl_images(), trained_on=wide).mapped == 100
    from_stl = class_mapping(STL.with_outputs(100).classes, CIFAR.classes)
    assert from_stl == class_mapping(STL.classes, CIFAR.classes)


def test_images_are_resized_as_pil_does_within_rounding() -> None:
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    small = resized(images, (32, 32))
    assert small.dtype == torch.uint8 and small.shape == (2, 3, 32, 32)
    for image, given in zip(images, small, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((32, 32), Image.Resampling.BILINEAR)
        difference = np.asarray(picture).astype(int) - given.permute(1, 2, 0).numpy().astype(int)
        assert np.abs(difference).max() <= 1
    assert resized(images, (96, 96)) is images


def test_data_sets_without_a_common_class() -> None:
    with pytest.raises(InputError, match="knows none of the classes"):
        transfer(Knows(), stl_images(), trained_on=digits.SPEC)


def test_a_map_of_the_users_own_counts_as_it_says():
    """Deer and horses are both called horses, cats and dogs both dogs; everything else is left out."""
    pairs = {"deer": "horse", "horse": "horse", "cat": "dog", "dog": "dog"}
    outputs = given_mapping(pairs, CIFAR.classes, STL.classes)
    by_hand = [CIFAR.classes.index(pairs[name]) if name in pairs else None for name in STL.classes]
    assert outputs == tuple(by_hand)
    found = transfer(Knows(), stl_images(), trained_on=CIFAR, class_map=pairs)
    # `Knows` is right about horses and dogs: 6 of 12 images that the map names, of 30 in all.
    assert (found.mapped, found.mapped_of_all, found.images_without_class) == (50, 20, 18)
    names = {name: {"car": "automobile"}.get(name, name) for name in STL.classes if name != "monkey"}
    by_map = transfer(Knows(wrong=7), stl_images(), trained_on=CIFAR, class_map=names)
    assert by_map.results() == transfer(Knows(wrong=7), stl_images(), trained_on=CIFAR).results()


def test_digits_and_house_numbers_have_the_same_names():
    assert class_mapping(digits.SPEC.classes, svhn.SPEC.classes) == tuple(range(10))
    assert class_mapping(svhn.SPEC.classes, digits.SPEC.classes) == tuple(range(10))


def test_names_that_are_not_there_are_all_told():
    pairs = {"car": "automobil", "monkeys": "frog", "cat": "cat", "dog": "automobil"}
    with pytest.raises(InputError) as refused:
        given_mapping(pairs, CIFAR.classes, STL.classes)
    told = str(refused.value)
    assert "'monkeys' is none of the classes tested. Did you mean 'monkey'? They are airplane, bird, car" in told
    assert told.count("'automobil' is none of the classes trained on. Did you mean 'automobile'?") == 1
    assert "'cat'" not in told
    with pytest.raises(InputError, match=r"t0, .* t19 and 80 more"):
        given_mapping({"cat": "x"}, [f"t{i}" for i in range(100)], STL.classes)
