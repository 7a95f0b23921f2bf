"""InfoPro's classifier and contrastive head: 3x3 convolutions, global pool, linear layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn

from locallearn.auxiliary.feature_map import as_map, conv_norm_relu, global_average, map_shape
from locallearn.errors import InputError

Layers = Literal["0c1f", "0c2f", "1c1f", "1c2f", "1c3f", "2c2f"]
"""How many convolutions (c) and linear layers (f)."""


class ConvClassifier(nn.Module):
    """Up to two 3x3 convolutions, global average pool, up to three linear layers.

    Each convolution (padding 1, no bias) is followed by BatchNorm and ReLU, each linear layer (with bias) but the last
    by ReLU. The first convolution goes to 2C channels at stride 2 while C is below that of the network's last unit,
    else to C at stride 1; the second keeps its width and stride. On CIFAR ResNets that is 16 -> 32, 32 -> 64 and 64 ->
    64. All convolutions are drawn from N(0, sqrt(2 / (9 C_out))); BatchNorm starts at 1 and 0; linear layers at
    PyTorch's default.

    Source:
        Wang et al., "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training", ICLR 2021
        (InfoPro), and its released code; the same heads in MAN's and MLAAN's.

    Departures:
        The released code accepts 16, 32 or 64 channels; the rule above extends it to any. Vectors are read as maps of
        one pixel, and a side of length 1 has a kernel of length 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_outputs: int,
        *,
        final_channels: int,
        layers: Layers = "1c2f",
        feature_dim: int = 128,
        widen: float = 1.0,
    ) -> None:
        """Builds the head.

        Args:
            shape: The feature's, without batch: (C, H, W) or (D,).
            num_outputs: Classes, or the width of the contrastive feature.
            final_channels: Channels of the network's last unit.
            layers: How many convolutions and linear layers.
            feature_dim: Width of the hidden linear layers.
            widen: Factor on the width of convolutions and hidden linear layers, not on ``num_outputs``.

        Raises:
            InputError: If ``layers`` is none of the published ones.
        """
        super().__init__()
        if layers not in get_args(Layers):
            raise InputError(f"unknown layers {layers!r} of an InfoPro head: use one of {', '.join(get_args(Layers))}")
        channels, *size = map_shape(shape)
        grows = channels < final_channels
        width, stride = int((2 * channels if grows else channels) * widen), 2 if grows else 1
        convs = []
        for _ in range(int(layers[0])):
            convs.append(conv_norm_relu(channels, width, (size[0], size[1]), stride=stride))
            channels, size, stride = width, [-(-side // stride) for side in size], 1
        self.convs = nn.Sequential(*convs)
        widths = [channels] + [int(feature_dim * widen)] * (int(layers[2]) - 1)
        self.hidden = nn.Sequential(*(_linear(before, after) for before, after in pairwise(widths)))
        self.linear = nn.Linear(widths[-1], num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, or the contrastive feature before it is normalised.

        Args:
            features: (B, C, H, W) or (B, D).

        Returns:
            (B, num_outputs).
        """
        return self.linear(self.hidden(global_average(self.convs(as_map(features)))))


def _linear(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(linear=nn.Linear(before, after), relu=nn.ReLU(inplace=True)))
