"""InfoPro's decoder: the input image restored from a feature map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from locallearn.auxiliary.feature_map import conv3x3, require_map, restored_size
from locallearn.auxiliary.upsampled_conv import upsampled_conv3x3
from locallearn.lean.relu import lean_relu


class ImageDecoder(nn.Module):
    """Bilinear upsampling to the image's size, 3x3 convolution to 12w, BatchNorm, ReLU, 3x3 convolution to the image.

    Upsampling aligns the corners; a feature that already has the image's size is read as it is. Features of another
    size than at construction are taken for those of an image larger or smaller by the same ratio. Both convolutions
    (padding 1) have biases. Weights are drawn from N(0, sqrt(2 / (9 C_out))), biases are PyTorch's default, BatchNorm
    starts at 1 and 0. At w = 1 and three image channels there are 108 C + 363 parameters.

    Source:
        Wang et al., "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training", ICLR 2021
        (InfoPro), and its released code for CIFAR, SVHN and STL-10.

    Departures:
        Returns logits: the sigmoid is part of the loss. The upsampled map is never built, see
        `auxiliary.upsampled_conv.upsampled_conv3x3`; the result is equal up to rounding.
    """

    def __init__(self, shape: Sequence[int], image_shape: Sequence[int], *, widen: float = 1.0) -> None:
        """Builds the decoder.

        Args:
            shape: The feature map's, without batch: (C, H, W).
            image_shape: The image's: (channels, rows, columns).
            widen: w, the factor on the hidden width.

        Raises:
            InputError: If the feature is not a map.
        """
        super().__init__()
        require_map(shape, "an image cannot be restored", "use a method without reconstruction (dgl, predsim)")
        self.shape, self.image_shape = tuple(shape), tuple(image_shape)
        size = (image_shape[1], image_shape[2])
        self.conv = conv3x3(shape[0], int(12 * widen), size, bias=True)
        self.norm = nn.BatchNorm2d(int(12 * widen))
        self.to_image = conv3x3(int(12 * widen), image_shape[0], size, bias=True)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of the restored image; their sigmoid is the image in [0, 1].

        Args:
            features: (B, C, H, W).

        Returns:
            `(B, *image_shape)`, rows and columns by the same ratio where the features have another size.
        """
        size = restored_size(features, self.shape, self.image_shape)
        if features.shape[2:] == size:
            hidden = self.conv(features)
        else:
            hidden = upsampled_conv3x3(features, self.conv.weight, self.conv.bias, size)
        return self.to_image(lean_relu(self.norm(hidden)))
