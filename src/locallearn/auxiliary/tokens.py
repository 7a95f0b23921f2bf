"""Sequences of tokens made one vector, for heads that predict once per sample, or a map, for decoders of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from typing_extensions import override

from locallearn.auxiliary.reducing import ReducingHead
from locallearn.errors import InputError

Reading = Literal["mean", "class"]
"""What stands for the whole sequence: the mean of all tokens, or the first one."""

_MOST_BEFORE_THE_GRID = 16


class TokenVector(nn.Module):
    """One vector of a sequence of tokens.

    Source:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, appendix D.3: the class token, or global average
        pooling.

    Departures:
        The mean is over all tokens, those that are no patches too.
    """

    def __init__(self, reading: Reading) -> None:
        """Builds the module, which has no parameters.

        Args:
            reading: `"mean"` of all tokens, or the `"class"` token, which is the first.
        """
        super().__init__()
        self.reading = reading

    def forward(self, tokens: Tensor) -> Tensor:
        """One vector per sample; the mean's gradient is a view of B x D numbers.

        Args:
            tokens: (B, T, D).

        Returns:
            (B, D).
        """
        return tokens[:, 0] if self.reading == "class" else tokens.sum(1) / tokens.shape[1]

    @override
    def extra_repr(self) -> str:
        return repr(self.reading)


class TokenHead(ReducingHead):
    """A head of vectors behind a `TokenVector`, in the two parts of the head."""

    def __init__(self, head: ReducingHead, reading: Reading) -> None:
        """Joins the two.

        Args:
            head: Reads (B, D).
            reading: See `TokenVector`.
        """
        super().__init__()
        self.vector = TokenVector(reading)
        self.head = head

    @override
    def reduced(self, features: Tensor) -> Tensor:
        return self.head.reduced(self.vector(features))

    @override
    def scored(self, reduced: Tensor) -> Tensor:
        return self.head.scored(reduced)


def on_tokens(head: nn.Module, reading: Reading) -> nn.Module:
    """A head that reads sequences of tokens.

    Args:
        head: Reads vectors, (B, D).
        reading: See `TokenVector`.

    Returns:
        The head behind a `TokenVector`; heads that can be run together still can.
    """
    if isinstance(head, ReducingHead):
        return TokenHead(head, reading)
    return nn.Sequential(TokenVector(reading), head)


class TokenMap(nn.Module):
    """The tokens of an image's patches as a map.

    The patches are the last h x w tokens, row by row, where h and w divide the image's sides into squares and as few
    tokens as possible, at most 16, stand before them: a class token, registers. 224x224 pixels in 197 tokens are one
    and 14x14, 32x32 pixels in five are one and 2x2.

    Source:
        Ours; order of the tokens: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.

    Departures:
        None.
    """

    def __init__(self, shape: Sequence[int], image_shape: Sequence[int]) -> None:
        """Finds the grid; the module has no parameters.

        Args:
            shape: The sequence's, without batch: (T, D).
            image_shape: The image's: (channels, rows, columns).

        Raises:
            InputError: If no grid fits.
        """
        super().__init__()
        self.prefix, self.size = _grid(shape[0], image_shape)
        self.shape = (shape[1], *self.size)

    def forward(self, tokens: Tensor) -> Tensor:
        """The map.

        Args:
            tokens: (B, T, D).

        Returns:
            (B, D, h, w), a view.
        """
        return tokens[:, self.prefix :].transpose(1, 2).unflatten(2, self.size)

    @override
    def extra_repr(self) -> str:
        return f"prefix={self.prefix}, size={self.size}"


def _grid(tokens: int, image_shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
    """How many tokens come first, and the rows and columns of the others."""
    height, width = image_shape[1:]
    sides = [side for side in range(1, min(height, width) + 1) if height % side == width % side == 0]
    fitting = [(height // side, width // side) for side in sides]
    before = {tokens - rows * columns: (rows, columns) for rows, columns in fitting}
    prefix = min((count for count in before if 0 <= count <= _MOST_BEFORE_THE_GRID), default=None)
    if prefix is None:
        raise InputError(
            f"An image cannot be restored from {tokens} tokens: no grid of square patches of {height}x{width} pixels "
            f"has that many, nor up to {_MOST_BEFORE_THE_GRID} fewer; use a method without reconstruction (dgl, "
            "predsim), or cut the network where it has maps."
        )
    return prefix, before[prefix]
