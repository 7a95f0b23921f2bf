"""Any feature read as a map of C channels, H rows and W columns, so that one head serves maps and vectors."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from locallearn.errors import InputError


def map_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape of a feature read as a map.

    Args:
        shape: Without batch: (C, H, W) of a map, or (D,) of a vector.

    Returns:
        (C, H, W) or (D, 1, 1).

    Raises:
        InputError: If the shape is none of these.
    """
    match tuple(shape):
        case (channels, height, width):
            return channels, height, width
        case (width,):
            return width, 1, 1
        case other:
            raise InputError(
                f"an auxiliary network reads maps (C, H, W) or vectors (D,), got {other}: cut the network where it has "
                "one of these; methods make vectors of tokens (T, D)"
            )


def feature_width(shape: Sequence[int]) -> int:
    """How many numbers describe one position of a feature.

    Args:
        shape: Without batch: (C, H, W) of a map, (T, D) of T tokens, or (D,) of a vector.

    Returns:
        C or D.
    """
    return shape[0] if len(shape) == 3 else shape[-1]


def as_map(features: Tensor) -> Tensor:
    """A batch of features read as maps; maps themselves pass untouched.

    Args:
        features: (B, C, H, W) or (B, D).

    Returns:
        (B, C, H, W) or (B, D, 1, 1), a view of the features.
    """
    return features[:, :, None, None] if features.ndim == 2 else features


def require_map(shape: Sequence[int], refusal: str, instead: str) -> None:
    """Refuse features that are no maps.

    Args:
        shape: Of the feature, without batch.
        refusal: What cannot be done, for the message.
        instead: What to do then.

    Raises:
        InputError: The shape is not (C, H, W).
    """
    if len(shape) != 3:
        raise InputError(
            f"{refusal} from a feature of shape {tuple(shape)}, only from a map (C, H, W): {instead}, or cut the "
            "network where it has maps"
        )


def doublings(shape: Sequence[int], image_shape: Sequence[int]) -> int:
    """How often the sides of a map double up to those of the image.

    Args:
        shape: The map's: (C, H, W).
        image_shape: The image's: (channels, rows, columns).

    Returns:
        The nearest whole number for the side that grows most; 0 if the map is not smaller.
    """
    growth = max(side / own for side, own in zip(image_shape[1:], shape[1:], strict=True))
    return max(0, round(math.log2(growth)))


def restored_size(features: Tensor, shape: Sequence[int], image_shape: Sequence[int]) -> tuple[int, int]:
    """The size of the images that maps were made of, by the ratio of a known map and its image.

    Args:
        features: (N, C, H, W).
        shape: The known map's: (C, H, W).
        image_shape: Its image's: (channels, rows, columns).

    Returns:
        Rows and columns: those of the known image where the maps have the known size.
    """
    height, width = features.shape[2:]
    return round(height * image_shape[1] / shape[1]), round(width * image_shape[2] / shape[2])


def pool_to(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Adaptive average pool that returns the maps themselves, not a copy, if they already have the size.

    Where the sizes divide it is an average pool, which is a quarter faster on a CPU.

    Args:
        maps: (B, C, H, W).
        size: Rows and columns wanted.

    Returns:
        (B, C, *size).
    """
    height, width = maps.shape[2:]
    if (height, width) == size:
        return maps
    if height % size[0] or width % size[1]:
        return F.adaptive_avg_pool2d(maps, size)
    return F.avg_pool2d(maps, (height // size[0], width // size[1]))


def global_average(maps: Tensor) -> Tensor:
    """Mean over rows and columns, whose gradient is a view of N x C numbers; `Tensor.mean` makes a whole map of it.

    Args:
        maps: (B, C, H, W).

    Returns:
        (B, C).
    """
    return maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3])


def conv3x3(channels: int, outputs: int, size: tuple[int, int], *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution with padding 1, drawn as the released CIFAR networks are: N(0, sqrt(2 / (k k outputs))).

    Along a side of length 1 the outer weights would only ever meet the padding, so there the kernel has length 1: on
    a column of tokens it is 3x1, on a vector 1x1. A bias keeps PyTorch's default.

    Args:
        channels: Input channels.
        outputs: Output channels.
        size: Rows and columns of the input.
        stride: Along both sides.
        bias: Whether to add one.

    Returns:
        The convolution; its output has ceil(side / stride) rows and columns.
    """
    rows, columns = (3 if side > 1 else 1 for side in size)
    conv = nn.Conv2d(channels, outputs, (rows, columns), stride, (rows // 2, columns // 2), bias=bias)
    kaiming_fan_out_(conv)
    return conv


def conv_norm_relu(channels: int, outputs: int, size: tuple[int, int], *, stride: int = 1) -> nn.Sequential:
    """A `conv3x3` without bias, BatchNorm and ReLU.

    Args:
        channels: Input channels.
        outputs: Output channels.
        size: Rows and columns of the input.
        stride: Along both sides.

    Returns:
        The three as `conv`, `norm` and `relu`.
    """
    conv = conv3x3(channels, outputs, size, stride=stride)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU(inplace=True)))


def kaiming_fan_out_(conv: nn.Conv2d) -> None:
    """Draws a convolution's weight from N(0, sqrt(2 / (k_h k_w C_out))), as the released CIFAR networks do.

    Args:
        conv: The convolution; its bias stays.
    """
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / (math.prod(conv.kernel_size) * conv.out_channels)))
