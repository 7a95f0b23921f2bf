from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.auxiliary import DenseHead
from locallearn.errors import InputError


def plain(channels: int, width: int, outputs: int) -> nn.Sequential:
    """The published order of layers, ReLU before the dropout of channels."""
    conv, classifier = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, outputs, 1)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout2d(0.1), classifier)


@pytest.mark.parametrize(("channels", "width"), [(6, 3), (9, 4), (1, 1)])
def test_equals_the_plain_form_and_so_do_its_gradients(channels: int, width: int) -> None:
    torch.manual_seed(0)
    head, slow = DenseHead((channels, 5, 7), 4).double(), plain(channels, width, 4).double()
    slow.load_state_dict(dict(zip(slow.state_dict(), head.state_dict().values(), strict=True)))
    maps = torch.randn(8, channels, 5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 4, 5, 7, dtype=torch.float64)
    for seed in range(3):
        torch.manual_seed(seed)
        found = head(maps)
        torch.manual_seed(seed)
        wanted = slow(maps)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(
            torch.autograd.grad((found * weight).sum(), [maps, *head.parameters()]),
            torch.autograd.grad((wanted * weight).sum(), [maps, *slow.parameters()]),
        )


def test_published_size_and_start() -> None:
    with torch.device("meta"):
        head = DenseHead((1024, 97, 193), 19)
    assert sum(p.numel() for p in head.parameters()) == 1024 * 512 * 9 + 512 + 2 * 512 + 512 * 19 + 19
    torch.manual_seed(1)
    head = DenseHead((8, 4, 4), 3)
    torch.manual_seed(1)
    conv = nn.Conv2d(8, 4, 3)
    assert torch.equal(head.conv.weight, conv.weight) and torch.equal(head.conv.bias, conv.bias)


@pytest.mark.parametrize("shape", [(64,), (65, 192)])
def test_vectors_and_tokens_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="only from a map"):
        DenseHead(shape, 3)
