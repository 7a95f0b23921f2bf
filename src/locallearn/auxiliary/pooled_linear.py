"""PredSim's prediction head: average pool to a bounded number of values, then one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from locallearn.auxiliary.feature_map import as_map, map_shape
from locallearn.auxiliary.reducing import ReducingHead


class Pooling(NamedTuple):
    """An average pool whose stride is its kernel: rows and columns each; ``features`` counts the values left."""

    kernel: tuple[int, int]
    padding: tuple[int, int]
    output: tuple[int, int]
    features: int


def pooling_rule(channels: int, height: int, width: int, threshold: int) -> Pooling:
    """The pool that leaves at most ``threshold`` values, found by doubling the kernel, its height first.

    Starting from 1x1: while channels x rows x columns exceeds the threshold, double the kernel's height, and if that
    does not suffice its width; rows = ceil(height / kernel height), columns likewise. Padding per side is half the
    kernel where the kernel does not divide the side, else 0; padded zeros count in the mean.

    Args:
        channels: C.
        height: Rows of the map.
        width: Columns of the map.
        threshold: Largest number of values wanted; more remain only if C itself is larger.

    Returns:
        The pool.

    Source:
        Released code of Nøkland and Eidnes, "Training Neural Networks with Local Error Signals", ICML 2019.

    Departures:
        None on square maps. On others a side stops growing once the kernel covers it.
    """
    sides, kernel, output = (height, width), [1, 1], [height, width]
    while channels * output[0] * output[1] > threshold and (kernel[0] < height or kernel[1] < width):
        for axis in (0, 1):
            if channels * output[0] * output[1] > threshold and kernel[axis] < sides[axis]:
                kernel[axis] *= 2
                output[axis] = -(-sides[axis] // kernel[axis])
    rows, columns = (k * (-(-side // k) - side // k) // 2 for k, side in zip(kernel, sides, strict=True))
    return Pooling((kernel[0], kernel[1]), (rows, columns), (output[0], output[1]), channels * output[0] * output[1])


class PooledLinear(ReducingHead):
    """Average pool by :func:`pooling_rule`, flatten, linear layer with bias.

    Source:
        Nøkland and Eidnes, "Training Neural Networks with Local Error Signals", ICML 2019; released code of AugLocal
        (Ma et al., ICLR 2024) for its form.

    Departures:
        Maps of any number of channels and any size; the released codes take square ones, AugLocal's only 16, 32 or 64
        channels.
    """

    def __init__(self, shape: Sequence[int], num_outputs: int, *, threshold: int, zero_weight: bool) -> None:
        """Builds the head.

        Args:
            shape: The feature's, without batch: (C, H, W) or (D,).
            num_outputs: Classes.
            threshold: Largest number of values the linear layer reads.
            zero_weight: Start from weight zero; else from PyTorch's default. The bias is PyTorch's default.
        """
        super().__init__()
        self.pooling = pooling_rule(*map_shape(shape), threshold)
        self.linear = nn.Linear(self.pooling.features, num_outputs)
        if zero_weight:
            nn.init.zeros_(self.linear.weight)

    @override
    def reduced(self, features: Tensor) -> Tensor:
        maps = as_map(features)
        if self.pooling.kernel != (1, 1):
            maps = F.avg_pool2d(maps, self.pooling.kernel, padding=self.pooling.padding)
        return maps.flatten(1)

    @override
    def scored(self, reduced: Tensor) -> Tensor:
        return self.linear(reduced)
