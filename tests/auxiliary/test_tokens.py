from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.auxiliary import ConvClassifier, ConvMLP, PooledLinear, TokenHead, TokenMap, TokenVector
from locallearn.auxiliary.conv_mlp import AUGLOCAL
from locallearn.auxiliary.tokens import Reading, on_tokens
from locallearn.errors import InputError


@pytest.mark.parametrize("head", [ConvMLP((6,), 3, AUGLOCAL), ConvClassifier((6,), 3, final_channels=6)])
@pytest.mark.parametrize("reading", ["mean", "class"])
def test_a_head_reads_one_vector(head: nn.Module, reading: Reading) -> None:
    tokens = torch.randn(4, 7, 6)
    vectors = torch.stack([sample[0] if reading == "class" else sum(sample) / 7 for sample in tokens])
    whole = on_tokens(head, reading)
    assert isinstance(whole, TokenHead) == isinstance(head, ConvMLP)
    torch.testing.assert_close(whole(tokens), head(vectors))


def test_the_means_gradient_makes_no_sequence() -> None:
    tokens, seen = torch.randn(2, 7, 6, requires_grad=True), []
    tokens.register_hook(lambda gradient: seen.append(gradient.stride()))
    TokenVector("mean")(tokens).sum().backward()
    assert seen[0][1] == 0 and torch.equal(tokens.grad, torch.full_like(tokens, 1 / 7))


def test_the_parts_of_a_head_that_can_be_run_with_others_are_those_of_the_head() -> None:
    inner, tokens = PooledLinear((700,), 3, threshold=512, zero_weight=False), torch.randn(2, 5, 700)
    whole = on_tokens(inner, "mean")
    torch.testing.assert_close(whole.reduced(tokens), inner.reduced(tokens.mean(1)))


@pytest.mark.parametrize(
    ("tokens", "image", "prefix", "size"),
    [
        (197, (3, 224, 224), 1, (14, 14)),
        (196, (3, 224, 224), 0, (14, 14)),
        (201, (3, 224, 224), 5, (14, 14)),
        (5, (3, 32, 32), 1, (2, 2)),
        (65, (3, 32, 32), 1, (8, 8)),
        (9, (3, 32, 32), 5, (2, 2)),  # thirds of 32 pixels are none
        (9, (3, 32, 64), 1, (2, 4)),
        (33, (3, 64, 32), 1, (8, 4)),
        (2, (3, 32, 32), 1, (1, 1)),
    ],
)
def test_patches_are_the_last_tokens_row_by_row(
    tokens: int, image: tuple[int, ...], prefix: int, size: tuple[int, int]
) -> None:
    module, sequence = TokenMap((tokens, 6), image), torch.randn(2, tokens, 6)
    assert (module.prefix, module.size, module.shape) == (prefix, size, (6, *size))
    maps = module(sequence)
    for row, column in ((0, 0), (size[0] - 1, 0), (0, size[1] - 1)):
        torch.testing.assert_close(maps[:, :, row, column], sequence[:, prefix + row * size[1] + column])


@pytest.mark.parametrize(("tokens", "image"), [(100, (3, 224, 224)), (7, (3, 30, 31 * 30)), (50, (3, 32, 32))])
def test_no_grid_fits(tokens: int, image: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"cannot be restored from {tokens} tokens: no grid of square patches"):
        TokenMap((tokens, 6), image)
