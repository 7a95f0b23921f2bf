from __future__ import annotations

import pytest
import torch

from locallearn.auxiliary import SimilarityConv
from reference import heads as reference


@pytest.mark.parametrize(("channels", "parameters"), [(16, 2304), (32, 9216), (64, 36864)])
def test_parameters(channels: int, parameters: int) -> None:
    assert sum(p.numel() for p in SimilarityConv((channels, 8, 8), kaiming=True).parameters()) == parameters


def test_initialisation_per_form() -> None:
    torch.manual_seed(0)
    kaiming = SimilarityConv((64, 8, 8), kaiming=True).layer.weight
    default = SimilarityConv((64, 8, 8), kaiming=False).layer.weight
    assert kaiming.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.03)
    assert default.abs().max().item() <= (1 / 576) ** 0.5


def test_equals_the_plain_form() -> None:
    network, maps = SimilarityConv((5, 6, 7), kaiming=False), torch.randn(2, 5, 6, 7)
    torch.testing.assert_close(network(maps), reference.similarity_conv(maps, dict(network.named_parameters())))


def test_tokens_keep_their_positions_and_vectors_get_a_linear_layer() -> None:
    tokens, vector = SimilarityConv((9, 12), kaiming=False), SimilarityConv((12,), kaiming=False)
    assert tokens(torch.randn(2, 9, 12)).shape == (2, 12, 9, 1)
    assert tokens.layer.weight.shape == (12, 12, 3, 1)
    sequence, weight = torch.randn(2, 9, 12), tokens.layer.weight[:, :, :, 0]
    beside = [torch.nn.functional.pad(sequence, (0, 0, 1, 1))[:, shift : shift + 9] for shift in range(3)]
    slow = sum(values @ weight[:, :, shift].T for shift, values in enumerate(beside))
    torch.testing.assert_close(tokens(sequence)[..., 0].transpose(1, 2), slow)
    x = torch.randn(2, 12)
    torch.testing.assert_close(vector(x), x @ vector.layer.weight.T)
