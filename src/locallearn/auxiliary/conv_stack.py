"""The ablation's head: a stack of 3x3 convolutions of one width at a quarter of the resolution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from locallearn.auxiliary.feature_map import as_map, conv_norm_relu, global_average, map_shape, pool_to


class ConvStack(nn.Module):
    """Average pool to a quarter of the sides, 3x3 convolutions, global average pool, linear layer.

    Each convolution (padding 1, no bias) is followed by BatchNorm and ReLU and keeps the width. Convolutions are drawn
    from N(0, sqrt(2 / (9 C_out))); BatchNorm starts at 1 and 0; the linear layer at PyTorch's default.

    Source:
        Ma, Wu, Si, Tan, "Scaling Supervised Local Learning with Augmented Auxiliary Networks", ICLR 2024, appendix,
        Table 5, last row but one.

    Departures:
        The authors released no code for it; normalisation and activation are those of their DGL head. Sides that do not
        divide by four are rounded up.
    """

    def __init__(self, shape: Sequence[int], num_outputs: int, *, convolutions: int, multiplier: float = 1.0) -> None:
        """Builds the head.

        Args:
            shape: The feature's, without batch: (C, H, W) or (D,).
            num_outputs: Classes.
            convolutions: How many.
            multiplier: Factor on their width, see `stack_width`.
        """
        super().__init__()
        channels, height, width = map_shape(shape)
        self.size = _quarter(height, width)
        widths = [channels] + [stack_width(channels, multiplier)] * convolutions
        self.convs = nn.Sequential(*(conv_norm_relu(before, after, self.size) for before, after in pairwise(widths)))
        self.linear = nn.Linear(widths[-1], num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits.

        Args:
            features: (B, C, H, W) or (B, D).

        Returns:
            (B, num_outputs).
        """
        return self.linear(global_average(self.convs(pool_to(as_map(features), self.size))))


def stack_width(channels: int, multiplier: float) -> int:
    """Channels of the convolutions.

    Args:
        channels: The feature's.
        multiplier: Their factor.

    Returns:
        The rounded product, at least 1.
    """
    return max(1, round(channels * multiplier))


def stack_macs(shape: Sequence[int], num_outputs: int, *, convolutions: int, multiplier: float) -> int:
    """Multiply-accumulates of a stack's convolutions and linear layer for one sample.

    Args:
        shape: The feature's, without batch.
        num_outputs: Classes.
        convolutions: How many.
        multiplier: Factor on their width.

    Returns:
        The number, counted as if padding were multiplied too.
    """
    channels, height, width = map_shape(shape)
    rows, columns = _quarter(height, width)
    taps = (3 if rows > 1 else 1) * (3 if columns > 1 else 1)
    wide = stack_width(channels, multiplier)
    weights = (channels + (convolutions - 1) * wide) * wide * taps
    return weights * rows * columns + wide * num_outputs


def matching_multiplier(
    shapes: Sequence[Sequence[int]], num_outputs: int, *, convolutions: int, target: int
) -> tuple[float, int]:
    """One factor for the widths of several stacks with which they cost together what is asked for.

    Args:
        shapes: The features' of all stacks.
        num_outputs: Classes.
        convolutions: How many in each.
        target: Multiply-accumulates of all stacks together.

    Returns:
        The factor, and the multiply-accumulates with it.
    """

    def total(multiplier: float) -> int:
        costs = (stack_macs(shape, num_outputs, convolutions=convolutions, multiplier=multiplier) for shape in set_of)
        return sum(cost * count for cost, count in zip(costs, counts, strict=True))

    distinct = {tuple(shape): 0 for shape in shapes}
    for shape in shapes:
        distinct[tuple(shape)] += 1
    set_of, counts = list(distinct), list(distinct.values())
    low, high = 0.0, 1.0
    while total(high) < target:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        if total(middle) < target:
            low = middle
        else:
            high = middle
    return min(((factor, total(factor)) for factor in (low, high)), key=lambda found: abs(found[1] - target))


def _quarter(height: int, width: int) -> tuple[int, int]:
    return -(-height // 4), -(-width // 4)
