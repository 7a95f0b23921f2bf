from __future__ import annotations

import pytest
import torch

from locallearn.datasets.image_set import ImageSet
from locallearn.errors import InputError


def test_selection_and_counts() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    chosen = ImageSet(images, torch.tensor([1, 0, 1, 1]), ("a", "b", "c")).select(torch.tensor([3, 1]))
    assert chosen.images.flatten().tolist() == [3, 1]
    assert len(chosen) == 2
    assert chosen.counts() == {"a": 1, "b": 1, "c": 0}


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64), "float32"),
        (torch.zeros(2, 1, 1, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"\(2, 1, 1\)"),
        (torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), r"\(3,\)"),
        (torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 2]), "0 to 2; give 0 to 1"),
        (torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([-1, 0]), "-1"),
    ],
)
def test_what_does_not_fit_is_refused(images: torch.Tensor, labels: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ImageSet(images, labels, ("a", "b"))
