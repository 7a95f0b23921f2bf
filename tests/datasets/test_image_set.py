from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from locallearn.datasets.image_set import ImageSet, chosen
from locallearn.datasets.samples import ChosenSamples
from locallearn.errors import InputError


def test_selection() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    chosen = ImageSet(images, torch.tensor([1, 0, 1, 1]), ("a", "b", "c")).select(torch.tensor([3, 1]))
    assert chosen.images.flatten().tolist() == [3, 1]
    assert len(chosen) == 2
    assert chosen.labels.tolist() == [1, 0]


def test_samples_are_chosen_without_being_read() -> None:
    class Counted:
        classes = ("a", "b")
        read: ClassVar[list[int]] = []

        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            self.read.append(index)
            return torch.full((1,), index), index % 2

    some = chosen(Counted(), torch.tensor([7, 2]))
    assert isinstance(some, ChosenSamples)
    assert (len(some), some.classes, Counted.read) == (2, ("a", "b"), [])
    assert [some[place][1] for place in range(2)] == [1, 0]
    assert Counted.read == [7, 2]


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64), "float32"),
        (torch.zeros(2, 1, 1, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"\(2, 1, 1\)"),
        (torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), r"\(3,\)"),
        (torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 2]), "must be 0 to 1, not 0 to 2"),
        (torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([-1, 0]), "-1"),
    ],
)
def test_what_does_not_fit_is_refused(images: torch.Tensor, labels: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ImageSet(images, labels, ("a", "b"))
