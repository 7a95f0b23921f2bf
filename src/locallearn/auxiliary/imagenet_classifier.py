"""InfoPro's classifier and contrastive head for large images: convolutions that halve the map, global pool, linear."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from locallearn.auxiliary.feature_map import (
    as_map,
    conv_norm_relu,
    doublings,
    global_average,
    map_shape,
)

_ONE_PIXEL = (1, 1)  # for which conv_norm_relu has a 1x1 kernel


class ImageNetClassifier(nn.Module):
    """1x1 convolution, 3x3 convolutions at stride 2, 1x1 convolution to 2048, global average pool, linear layer.

    Convolutions (no bias) are followed by BatchNorm and ReLU and drawn from N(0, sqrt(2 / (k k C_out))); BatchNorm
    starts at 1 and 0, the linear layer at PyTorch's default. Of 224 pixels the widths are

    ======= =======================================
    feature widths, those behind stride 2 in brackets
    ======= =======================================
    56x56   C, 64 (128, 256, 512) 2048
    28x28   C, 128 (256, 512) 2048
    14x14   C, 256 (256, 512) 2048
    7x7     C, 512 (256, 512) 2048
    ======= =======================================

    where the first is at most C. From 512 channels at 28x28 to 1000 classes there are 4,643,560 parameters.

    Source:
        Wang et al., "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training", ICLR 2021
        (InfoPro); blackfeather-wang/InfoPro-Pytorch at a38362a, networks/resnet.py: 512 channels at 28x28. 1024
        channels at 14x14: JunhaoSu0/MAN at a6d20c5, networks/InfoProAux.py.

    Departures:
        The other rows and numbers of channels are ours: the first width is that of a bottleneck's middle at the
        feature's resolution, and larger maps are halved down to the same 7x7. Which row holds is told by how often the
        feature's sides double up to the image's, at least once and at most five times. Vectors are read as maps of one
        pixel, and a side of length 1 has a kernel of length 1.
    """

    def __init__(
        self, shape: Sequence[int], num_outputs: int, image_shape: Sequence[int], *, widen: float = 1.0
    ) -> None:
        """Builds the head.

        Args:
            shape: The feature's, without batch: (C, H, W) or (D,).
            num_outputs: Classes, or the width of the contrastive feature.
            image_shape: The image's: (channels, rows, columns).
            widen: Factor on the hidden widths, not on ``num_outputs``.
        """
        super().__init__()
        channels, *size = map_shape(shape)
        growth = min(5, max(1, doublings((channels, *size), image_shape)))
        halvings = max(2, 5 - growth)
        width = int(min(channels, 16 << growth) * widen)
        layers = [conv_norm_relu(channels, width, _ONE_PIXEL)]
        for left in reversed(range(halvings)):
            after = int((512 >> left) * widen)
            layers.append(conv_norm_relu(width, after, (size[0], size[1]), stride=2))
            width, size = after, [-(-side // 2) for side in size]
        self.convs = nn.Sequential(*layers, conv_norm_relu(width, int(2048 * widen), _ONE_PIXEL))
        self.linear = nn.Linear(int(2048 * widen), num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, or the contrastive feature before it is normalised.

        Args:
            features: (B, C, H, W) or (B, D).

        Returns:
            (B, num_outputs).
        """
        return self.linear(global_average(self.convs(as_map(features))))
