from __future__ import annotations

from typing import get_args

import pytest
import torch

from locallearn.auxiliary import ConvClassifier
from locallearn.auxiliary.conv_classifier import Layers
from locallearn.errors import InputError
from reference import heads as reference
from reference.compare import assert_same_values_and_gradients

SIZES = {16: 32, 32: 16, 64: 8}


@pytest.mark.parametrize(
    ("layers", "outputs", "parameters"),
    [
        ("1c2f", 10, (10186, 28170, 46602)),
        ("1c2f", 128, (25408, 43392, 61824)),
        ("2c2f", 10, (19466, 65162, 83594)),
        ("0c1f", 10, (170, 330, 650)),
    ],
)
def test_parameters(layers: Layers, outputs: int, parameters: tuple[int, ...]) -> None:
    heads = [ConvClassifier((c, s, s), outputs, final_channels=64, layers=layers) for c, s in SIZES.items()]
    assert tuple(sum(p.numel() for p in head.parameters()) for head in heads) == parameters


def test_widen_spares_the_outputs() -> None:
    head = ConvClassifier((16, 8, 8), 128, final_channels=64, layers="1c3f", widen=1.5)
    assert head.convs[0].conv.out_channels == 48
    assert [layer.linear.out_features for layer in head.hidden] == [192, 192]
    assert head.linear.out_features == 128


@pytest.mark.parametrize("layers", get_args(Layers))
@pytest.mark.parametrize(("channels", "stride"), [(4, 2), (6, 2), (8, 1)])
def test_equals_the_plain_form_and_so_do_its_gradients(layers: Layers, channels: int, stride: int) -> None:
    torch.manual_seed(0)
    head = ConvClassifier((channels, 7, 6), 5, final_channels=8, layers=layers, feature_dim=9).double()
    maps, weight = torch.randn(4, channels, 7, 6, dtype=torch.float64, requires_grad=True), torch.randn(4, 5)
    weights = dict(head.named_parameters())
    fast, slow = head(maps), reference.conv_classifier(maps, weights, stride)
    assert_same_values_and_gradients(fast, slow, [maps, *weights.values()], weight)


def test_initialisation() -> None:
    torch.manual_seed(0)
    head = ConvClassifier((32, 8, 8), 10, final_channels=64)
    assert head.convs[0].conv.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)


@pytest.mark.parametrize("shape", [(12,), (12, 1, 1), (12, 4, 4), (12, 5, 3)])
@pytest.mark.parametrize("layers", get_args(Layers))
@pytest.mark.parametrize("final_channels", [12, 48])
def test_any_feature_uses_every_weight(shape: tuple[int, ...], layers: Layers, final_channels: int) -> None:
    head = ConvClassifier(shape, 10, final_channels=final_channels, layers=layers)
    torch.nn.functional.cross_entropy(head(torch.randn(32, *shape)), torch.arange(32) % 10).backward()
    for conv in head.convs:
        assert conv.conv.weight.grad.abs().sum((0, 1)).ne(0).all()


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"'3c1f'.*0c1f, 0c2f, 1c1f, 1c2f, 1c3f, 2c2f"):
        ConvClassifier((16, 8, 8), 10, final_channels=64, layers="3c1f")  # pyright: ignore[reportArgumentType]
