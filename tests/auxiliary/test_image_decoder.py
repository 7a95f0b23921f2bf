from __future__ import annotations

import pytest
import torch

from locallearn.auxiliary import ImageDecoder
from locallearn.errors import InputError
from reference import heads as reference
from reference.compare import assert_same_values_and_gradients


@pytest.mark.parametrize(("channels", "side", "parameters"), [(16, 32, 2091), (32, 16, 3819), (64, 8, 7275)])
def test_parameters(channels: int, side: int, parameters: int) -> None:
    decoder = ImageDecoder((channels, side, side), (3, 32, 32))
    assert sum(p.numel() for p in decoder.parameters()) == parameters


@pytest.mark.parametrize("shape", [(5, 8, 12), (5, 4, 6), (5, 3, 12), (5, 1, 1)])
def test_equals_the_plain_form_and_so_do_its_gradients(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    decoder = ImageDecoder(shape, (3, 8, 12)).double()
    maps, weight = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True), torch.randn(4, 3, 8, 12)
    weights = dict(decoder.named_parameters())
    fast, slow = decoder(maps), reference.image_decoder(maps, weights, (8, 12))
    assert_same_values_and_gradients(fast, slow, [maps, *weights.values()], weight)


@pytest.mark.parametrize("side", [4, 16])
def test_images_of_another_size_are_restored_at_theirs(side: int) -> None:
    torch.manual_seed(0)
    built, wide = (
        ImageDecoder((5, *size), (3, 16 * size[0] // side, 16 * size[1] // side)) for size in ((side, side), (side, 24))
    )
    wide.load_state_dict(built.state_dict())
    maps = torch.randn(2, 5, side, 24)
    assert torch.equal(built(maps), wide(maps)) and built(maps).shape == (2, 3, 16, 24 * 16 // side)


def test_initialisation_and_width() -> None:
    torch.manual_seed(0)
    decoder = ImageDecoder((64, 8, 8), (1, 32, 32), widen=2)
    assert decoder.conv.weight.shape == (24, 64, 3, 3) and decoder.to_image.weight.shape == (1, 24, 3, 3)
    assert decoder.conv.weight.std().item() == pytest.approx((2 / (9 * 24)) ** 0.5, rel=0.03)


@pytest.mark.parametrize("shape", [(64,), (65, 192)])
def test_vectors_and_tokens_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="only from a map"):
        ImageDecoder(shape, (3, 32, 32))


def test_a_feature_of_the_images_size_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locallearn.auxiliary.image_decoder.upsampled_conv3x3", None)
    assert ImageDecoder((5, 8, 12), [3, 8, 12])(torch.randn(2, 5, 8, 12)).shape == (2, 3, 8, 12)
