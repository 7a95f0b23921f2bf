"""DGL's head: pool, 1x1 convolutions, pool, multilayer perceptron, in every form that was published."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from typing_extensions import override

from locallearn.auxiliary.feature_map import as_map, map_shape, pool_to
from locallearn.auxiliary.reducing import ReducingHead


@dataclass(frozen=True, kw_only=True)
class ConvMLPForm:
    """What the published forms of the head differ in.

    Attributes:
        first_pool_divisor: The first pool leaves ceil(side / divisor); 1 is no pool.
        first_pool_side: If given, the first pool leaves at most this side instead.
        convolutions: How many 1x1 convolutions.
        conv_width: Channels of the 1x1 convolutions; None keeps the feature's.
        kaiming: Draw the convolutions from N(0, sqrt(2 / width)); else PyTorch's default.
        second_pool_side: Side after the second pool; 1 is global.
        repeat_pixels: Also pool a smaller map to that side, which repeats its pixels; else its side stays.
        hidden_layers: Linear layers before the last.
        hidden_width: Their width; None is the number of values after the second pool.
        hidden_bias: Whether they have a bias.
    """

    first_pool_divisor: int = 4
    first_pool_side: int | None = None
    convolutions: int = 3
    conv_width: int | None = None
    kaiming: bool = False
    second_pool_side: int = 2
    repeat_pixels: bool = False
    hidden_layers: int = 3
    hidden_width: int | None = None
    hidden_bias: bool = True

    def first_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns after the first pool.

        Args:
            height: Rows of the feature.
            width: Columns of the feature.

        Returns:
            Rows and columns.
        """
        if self.first_pool_side is not None:
            return min(height, self.first_pool_side), min(width, self.first_pool_side)
        return -(-height // self.first_pool_divisor), -(-width // self.first_pool_divisor)

    def second_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns after the second pool.

        Args:
            height: Rows after the first pool.
            width: Columns after the first pool.

        Returns:
            Rows and columns.
        """
        side = self.second_pool_side
        return (side, side) if self.repeat_pixels else (min(height, side), min(width, side))


AUTHORS = ConvMLPForm(repeat_pixels=True)
"""DGL's own ``mlp-sr``."""

AUGLOCAL = ConvMLPForm(kaiming=True, hidden_layers=2, hidden_bias=False)
"""AugLocal's re-implementation: one hidden layer fewer, without bias."""

MLAAN = ConvMLPForm(first_pool_divisor=1, conv_width=128, kaiming=True, second_pool_side=1, hidden_width=512)
"""MLAAN's ``auxDGL``."""

MAN = ConvMLPForm(first_pool_side=8, conv_width=128, kaiming=True, second_pool_side=1, hidden_width=512)
"""MAN++'s head: MLAAN's behind a pool to 8x8."""


class ConvMLP(ReducingHead):
    """Pool, 1x1 convolutions, pool, hidden linear layers, linear layer with bias.

    Each convolution (without bias, written as a linear layer over the channels) and each hidden layer is followed by
    BatchNorm and ReLU. BatchNorm starts at 1 and
    0, linear layers at PyTorch's default. On a feature of C channels and ten classes the published sizes are 9,962 /
    37,834 / 147,338 parameters (AugLocal, C = 16 / 32 / 64).

    Source:
        Belilovsky, Eickenberg and Oyallon, "Decoupled Greedy Learning of CNNs", ICML 2020, and its released code;
        released codes of AugLocal (Ma et al., ICLR 2024), MLAAN (Zhang et al., AAAI 2025) and MAN++.

    Departures:
        The authors' code also creates a BatchNorm of 2C parameters that nothing uses; it is left out. Vectors are read
        as maps of one pixel; a side is pooled by its own length.
    """

    def __init__(self, shape: Sequence[int], num_outputs: int, form: ConvMLPForm) -> None:
        """Builds the head.

        Args:
            shape: The feature's, without batch: (C, H, W) or (D,).
            num_outputs: Classes.
            form: One of the published forms, or another.
        """
        super().__init__()
        channels, height, width = map_shape(shape)
        self.first_size = form.first_size(height, width)
        self.second_size = form.second_size(*self.first_size)
        widths = [channels] + [form.conv_width or channels] * form.convolutions
        self.convs = nn.ModuleList(_Conv1x1(*pair, form.kaiming) for pair in pairwise(widths))
        values = widths[-1] * self.second_size[0] * self.second_size[1]
        hidden = [values] + [form.hidden_width or values] * form.hidden_layers
        self.hidden = nn.Sequential(*(_linear(*pair, form.hidden_bias) for pair in pairwise(hidden)))
        self.linear = nn.Linear(hidden[-1], num_outputs)

    @override
    def reduced(self, features: Tensor) -> Tensor:
        return cast(Tensor, _ChannelsLast.apply(pool_to(as_map(features), self.first_size)))

    @override
    def scored(self, reduced: Tensor) -> Tensor:
        maps = reduced
        for layer in self.convs:
            maps = cast(_Conv1x1, layer)(maps)
        return self.linear(self.hidden(pool_to(maps, self.second_size).flatten(1)))


class _ChannelsLast(torch.autograd.Function):
    """The maps with their channels last in memory, so that a 1x1 convolution is one matrix product.

    The gradient gets the layout the maps came in, since another would slow the backward pass of whatever made them.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        last = maps.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        return maps.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous(memory_format=ctx.layout)


class _Uncounted(_NormBase):
    """BatchNorm with a fixed momentum never reads its counter of batches, whose update is a kernel of its own."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # A state without version (safetensors) passes for one from before counters, to which they are then added.
        bound = signature(super()._load_from_state_dict).bind(*args, **kwargs)
        bound.arguments["local_metadata"] |= {"version": 2}
        super()._load_from_state_dict(*bound.args, **bound.kwargs)


class _BatchNorm1d(_Uncounted, nn.BatchNorm1d):
    pass


class _BatchNorm2d(_Uncounted, nn.BatchNorm2d):
    pass


class _Conv1x1(nn.Module):
    """A 1x1 convolution of channels-last maps as one matrix product, BatchNorm, ReLU."""

    def __init__(self, before: int, after: int, kaiming: bool) -> None:
        super().__init__()
        self.conv = nn.Linear(before, after, bias=False)
        self.norm = _BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        if kaiming:
            nn.init.normal_(self.conv.weight, std=(2 / after) ** 0.5)

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)))


def _linear(before: int, after: int, bias: bool) -> nn.Sequential:
    linear = nn.Linear(before, after, bias=bias)
    return nn.Sequential(OrderedDict(linear=linear, norm=_BatchNorm1d(after), relu=nn.ReLU(inplace=True)))
