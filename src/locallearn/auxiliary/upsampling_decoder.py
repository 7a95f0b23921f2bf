"""InfoPro's decoder for large images: the image restored from a small map by doubling it several times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from locallearn.auxiliary.feature_map import doublings, kaiming_fan_out_, require_map, restored_size
from locallearn.auxiliary.upsampled_conv import upsampled_conv3x3
from locallearn.lean.relu import lean_relu

_WIDTHS = {1: (12,), 2: (32, 12), 3: (128, 32, 12), 4: (192, 64, 32, 12)}


class UpsamplingDecoder(nn.Module):
    """1x1 convolution, then for each doubling bilinear upsampling and a convolution, the last one to the image.

    Upsampling aligns the corners; its sizes are the image's, halved and rounded up once for each doubling that is still
    to come, so features of any size will do; those of another size than at construction are taken for features of an
    image larger or smaller by the same ratio. Each convolution has a bias, and each but the last is followed by
    BatchNorm and ReLU. With `-` for a 1x1 convolution, `=` for a 3x3 convolution of the doubled map, and the feature's
    side as a share of the image's:

    ======= =============================
    feature widths
    ======= =============================
    1/2     C - 12 = image
    1/4     C - 32 = 12 = image
    1/8     C - 128 = 32 = 12 = image
    1/16    C - 192 - 64 = 32 = 12 = image
    ======= =============================

    In the last row the second 1x1 convolution follows a doubling too; smaller features have one more of 192 channels
    before it for each doubling. From 512 channels at 28 of 224 pixels there are 106,699 parameters.

    Source:
        Wang et al., "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training", ICLR 2021
        (InfoPro); blackfeather-wang/InfoPro-Pytorch at a38362a: the row 1/8, with 512 channels for ImageNet
        (networks/resnet.py) and with 1024 for Cityscapes (mmseg/models/segmentors/encoder_decoder.py). The row 1/16,
        with 1024 channels: JunhaoSu0/MAN at a6d20c5, networks/InfoProAux.py.

    Departures:
        The other rows, other numbers of channels, and maps whose sides do not divide the image's are ours. Returns
        logits: the sigmoid is part of the loss. Upsampled maps are never built: a 1x1 convolution commutes with
        upsampling and runs first, for 3x3 see `auxiliary.upsampled_conv.upsampled_conv3x3`; the
        result is equal up to rounding. Statistics are each device's own.
    """

    def __init__(
        self, shape: Sequence[int], image_shape: Sequence[int], *, widen: float = 1.0, kaiming: bool = True
    ) -> None:
        """Builds the decoder.

        Args:
            shape: The feature map's, without batch: (C, H, W).
            image_shape: The image's: (channels, rows, columns).
            widen: Factor on the hidden widths.
            kaiming: Draw convolutions from N(0, sqrt(2 / (k k C_out))), as for ImageNet; else as PyTorch does, as for
                Cityscapes. All else starts as PyTorch starts it.

        Raises:
            InputError: If the feature is not a map.
        """
        super().__init__()
        require_map(shape, "an image cannot be restored", "use a method without reconstruction (dgl, predsim)")
        count = max(1, doublings(shape, image_shape))
        hidden = (192,) * (count - 4) + _WIDTHS[min(count, 4)]
        widths = [shape[0], *(int(width * widen) for width in hidden), image_shape[0]]
        kernels = [1] * max(1, count - 2) + [3] * min(count, 3)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=kernel // 2)
            for (before, after), kernel in zip(pairwise(widths), kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:-1])
        self.shape, self.image_shape = tuple(shape), tuple(image_shape)
        if kaiming:
            for conv in self.convs:
                kaiming_fan_out_(cast(nn.Conv2d, conv))

    def forward(self, features: Tensor) -> Tensor:
        """Logits of the restored image; their sigmoid is the image in [0, 1].

        Args:
            features: (B, C, H, W).

        Returns:
            `(B, *image_shape)`, rows and columns by the same ratio where the features have another size.
        """
        sizes = self.sizes(features)
        maps = self.convs[0](features)
        for norm, conv, size in zip(self.norms, list(self.convs)[1:], sizes, strict=True):
            maps = _doubled(cast(nn.Conv2d, conv), lean_relu(norm(maps)), size)
        return maps

    def sizes(self, features: Tensor) -> list[tuple[int, int]]:
        """To what the map is brought before each convolution but the first.

        Args:
            features: (B, C, H, W).

        Returns:
            Rows and columns, the last those of the image.
        """
        rows, columns = restored_size(features, self.shape, self.image_shape)
        return [(-(-rows >> left), -(-columns >> left)) for left in reversed(range(len(self.norms)))]


def _doubled(conv: nn.Conv2d, maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The convolution of the maps upsampled to a size."""
    if maps.shape[2:] == size:
        return conv(maps)
    if conv.kernel_size == (1, 1):
        return F.interpolate(conv(maps), size=size, mode="bilinear", align_corners=True)
    return upsampled_conv3x3(maps, conv.weight, conv.bias, size)
