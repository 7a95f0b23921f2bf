from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from locallearn.auxiliary import ConvMLP, ConvMLPForm
from locallearn.auxiliary.conv_mlp import AUGLOCAL, AUTHORS, MAN, MLAAN
from reference import heads as reference
from reference.compare import assert_same_values_and_gradients


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("channels", "parameters"), [(16, 9962), (32, 37834), (64, 147338)])
@pytest.mark.parametrize("image", [32, 96])
def test_auglocals_parameters(channels: int, parameters: int, image: int) -> None:
    side = image * 16 // channels
    assert count(ConvMLP((channels, side, side), 10, AUGLOCAL)) == parameters


@pytest.mark.parametrize(("channels", "parameters"), [(128, 846346), (256, 3363850), (512, 13412362)])
def test_the_authors_parameters_but_for_their_unused_norm(channels: int, parameters: int) -> None:
    assert count(ConvMLP((channels, 16, 16), 10, AUTHORS)) == parameters - 2 * channels


def test_the_authors_head_of_the_last_block() -> None:
    last = dataclasses.replace(AUTHORS, convolutions=0, hidden_layers=2)
    assert count(ConvMLP((512, 8, 8), 10, last)) == 8422410 - 2 * 512


def test_mlaans_parameters_and_mans_equal_them() -> None:
    assert count(ConvMLP((64, 8, 8), 10, MLAAN)) == count(ConvMLP((64, 8, 8), 10, MAN)) == 641290


@pytest.mark.parametrize(
    ("form", "side", "first", "second"),
    [
        (AUGLOCAL, 32, (8, 8), (2, 2)),
        (AUGLOCAL, 8, (2, 2), (2, 2)),
        (AUGLOCAL, 4, (1, 1), (1, 1)),
        (AUTHORS, 4, (1, 1), (2, 2)),
        (MLAAN, 16, (16, 16), (1, 1)),
        (MAN, 16, (8, 8), (1, 1)),
        (MAN, 1, (1, 1), (1, 1)),
    ],
)
def test_sizes_after_the_pools(form: ConvMLPForm, side: int, first: tuple[int, int], second: tuple[int, int]) -> None:
    head = ConvMLP((8, side, side), 10, form)
    assert (head.first_size, head.second_size) == (first, second)
    assert head(torch.randn(3, 8, side, side)).shape == (3, 10)


@pytest.mark.parametrize(
    ("shape", "first"), [((64, 224, 224), 56), ((256, 56, 56), 14), ((512, 28, 28), 7), ((512, 14, 14), 4)]
)
def test_the_authors_head_for_vgg13_on_imagenet(shape: tuple[int, int, int], first: int) -> None:
    head, width = ConvMLP(shape, 1000, AUTHORS), shape[0]
    assert (head.first_size, head.second_size) == ((first, first), (2, 2))
    assert [layer.linear.out_features for layer in head.hidden] == [4 * width] * 3
    convolutions, hidden = 3 * (width * width + 2 * width), 3 * (16 * width * width + 12 * width)
    assert count(head) == convolutions + hidden + 4000 * width + 1000


@pytest.mark.parametrize("form", [AUGLOCAL, AUTHORS, MLAAN, MAN])
def test_equals_the_plain_form_and_so_do_its_gradients(form: ConvMLPForm) -> None:
    torch.manual_seed(0)
    head = ConvMLP((6, 16, 16), 4, dataclasses.replace(form, conv_width=6, hidden_width=12)).double()
    maps, weight = torch.randn(5, 6, 16, 16, dtype=torch.float64, requires_grad=True), torch.randn(5, 4)
    weights = dict(head.named_parameters())
    fast = head(maps)
    slow = reference.conv_mlp(maps, weights, head.first_size, head.second_size)
    assert_same_values_and_gradients(fast, slow, [maps, *weights.values()], weight)


def test_initialisation_per_form() -> None:
    torch.manual_seed(0)
    auglocal, authors = (ConvMLP((64, 8, 8), 10, form).convs[0].conv.weight for form in (AUGLOCAL, AUTHORS))
    assert auglocal.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.03)
    assert authors.abs().max().item() <= (1 / 64) ** 0.5


@pytest.mark.parametrize("shape", [(12,), (12, 1, 1), (12, 5, 3)])
@pytest.mark.parametrize("form", [AUGLOCAL, AUTHORS, MLAAN, MAN])
def test_any_feature(shape: tuple[int, ...], form: ConvMLPForm) -> None:
    head = ConvMLP(shape, 10, form)
    head(torch.randn(3, *shape)).sum().backward()
    assert all(p.grad is not None for p in head.parameters())


def test_a_state_without_versions_loads() -> None:
    one, other = (ConvMLP((4, 8, 8), 3, AUGLOCAL) for _ in range(2))
    one(torch.randn(4, 4, 8, 8))
    other.load_state_dict(dict(one.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert not any(name.endswith("num_batches_tracked") for name in one.state_dict())
