"""What BatchNorm and ReLU returned, so described that it can be computed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from locallearn.lean.overwriting import in_parts


class Normalized(NamedTuple):
    """A batch that BatchNorm normalised with its own statistics, perhaps followed by ReLU.

    Args:
        values: BatchNorm's input.
        mean: Of each channel.
        inverse_std: One over the standard deviation of each channel.
        weight: BatchNorm's, or None.
        bias: BatchNorm's, or None.
        relu: Whether ReLU follows.
    """

    values: Tensor
    mean: Tensor
    inverse_std: Tensor
    weight: Tensor | None
    bias: Tensor | None
    relu: bool = False

    def again(self) -> Tensor:
        """The whole result.

        Returns:
            A new tensor in the layout of the input.
        """
        result = torch.empty_like(self.values)
        for part, values in in_parts(result, self.values):
            self.write(part, values)
            if self.relu:
                part.relu_()
        return result

    def write(self, result: Tensor, values: Tensor) -> None:
        """Normalise some rows of the batch, without ReLU.

        Args:
            result: Where to.
            values: Rows of the input.
        """
        scale = self.scale
        shift = -self.mean * scale if self.bias is None else self.bias - self.mean * scale
        torch.addcmul(per_channel(shift, values), values, per_channel(scale, values), out=result)

    @property
    def scale(self) -> Tensor:
        """What each channel is multiplied with."""
        return self.inverse_std if self.weight is None else self.inverse_std * self.weight


def per_channel(numbers: Tensor, maps: Tensor) -> Tensor:
    """Numbers for each channel in a shape that maps can be multiplied with.

    Args:
        numbers: `(C,)`.
        maps: `(N, C, ...)`.

    Returns:
        `(C, 1, ...)`.
    """
    return numbers.view(-1, *[1] * (maps.ndim - 2))


def restored(saved: Sequence[Tensor | None], *, relu: bool) -> Normalized:
    """The description that was saved as tensors for a backward pass.

    Args:
        saved: Its tensors in their order.
        relu: Whether ReLU follows.

    Returns:
        The description.
    """
    values, mean, inverse_std, weight, bias = saved
    assert values is not None
    assert mean is not None
    assert inverse_std is not None
    return Normalized(values, mean, inverse_std, weight, bias, relu)
