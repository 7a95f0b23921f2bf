from __future__ import annotations

import pytest
import torch

from locallearn.datasets.image_set import ImageSet
from locallearn.errors import InputError


def test_selection() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    chosen = ImageSet(images, torch.tensor([1, 0, 1, 1]), ("a", "b", "c")).select(torch.tensor([3, 1]))
    assert chosen.images.flatten().tolist() == [3, 1]
    assert len(chosen) == 2
    assert chosen.labels.tolist() == [1, 0]


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
