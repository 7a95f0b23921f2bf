"""Random crops and mirrors of whole batches, drawn for every sample by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from locallearn.datasets.spec import Augmentation
from locallearn.errors import InputError


class Draws(NamedTuple):
    """What was drawn for N images: where the crop starts in the padded image, and whether it is mirrored."""

    top: Tensor
    left: Tensor
    mirrored: Tensor


def draw(count: int, augmentation: Augmentation, generator: torch.Generator) -> Draws:
    """Independent parameters for every image.

    Args:
        count: How many images, N.
        augmentation: What is varied.
        generator: The random stream; its device is the draws' device.

    Returns:
        `top` and `left`: (N,), int64, uniform on 0 to 2 pad; `mirrored`: (N,), bool, with probability 1/2.
    """
    top, left = torch.randint(
        0, 2 * augmentation.pad + 1, (2, count), generator=generator, device=generator.device
    ).unbind()
    mirrored = torch.rand(count, generator=generator, device=generator.device) < 0.5 * augmentation.flip
    return Draws(top, left, mirrored)


def apply(images: Tensor, augmentation: Augmentation, draws: Draws) -> Tensor:
    """The crops and mirrors that were drawn, by one gather over rows and one over columns.

    With the padded image P of size H + 2 pad by W + 2 pad, output pixel (i, j) is P[top + i, left + j], and
    P[top + i, left + W - 1 - j] where mirrored.

    Args:
        images: (N, C, H, W), any type.
        augmentation: The padding's size and kind.
        draws: Of N images.

    Returns:
        (N, C, H, W), on the images' device; the images themselves where nothing is varied.

    Raises:
        InputError: An image to reflect is no larger than the padding.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, train.py: `F.pad(..., mode="reflect")`, `RandomCrop`,
        `RandomHorizontalFlip`.
    """
    count, channels, height, width = images.shape
    pad, reflect = augmentation.pad, augmentation.padding == "reflect"
    if not (pad or augmentation.flip):
        return images
    if reflect and pad >= min(height, width):
        raise InputError(
            f"A {height}x{width} image cannot be reflected by {pad} pixels: give a smaller augmentation.pad."
        )
    draws = Draws(*(drawn.to(images.device, non_blocking=True) for drawn in draws))
    rows = draws.top[:, None] + torch.arange(height, device=images.device)
    columns = draws.left[:, None] + torch.arange(width, device=images.device)
    columns = torch.where(draws.mirrored[:, None], columns.flip(1), columns)
    if reflect:
        rows, columns = _reflected(rows - pad, height), _reflected(columns - pad, width)
    else:
        images = F.pad(images, (pad, pad, pad, pad))
    planes = torch.arange(count * channels, device=images.device).view(count, channels, 1) * images.shape[2]
    lines = images.reshape(-1, images.shape[3]).index_select(0, (planes + rows[:, None, :]).flatten())
    columns = columns[:, None, None, :].expand(count, channels, height, width)
    return lines.view(count, channels, height, -1).gather(3, columns)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels as a network takes them: (images / 255 - mean) / std, in this order of operations.

    Args:
        images: (N, C, H, W), uint8.
        mean: C values in units of [0, 1] pixels.
        std: C values in the same units.

    Returns:
        (N, C, H, W), float32.
    """
    means, stds = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (mean, std))
    return images.to(torch.float32).div_(255).sub_(means).div_(stds)


def _reflected(index: Tensor, size: int) -> Tensor:
    # Indices outside 0 to size - 1 mirrored at the first and last pixel, which are not repeated.
    last = size - 1
    return last - (last - index.abs()).abs()
