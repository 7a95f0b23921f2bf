"""A convolution of an upsampled map that never builds the upsampled map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def upsampled_conv3x3(features: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
    r"""3x3 convolution, padding 1, of the bilinearly upsampled features (``align_corners=True``).

    Upsampling acts on positions alone and mixing channels on channels alone, so for each tap (i, j) of the kernel the
    channels are mixed first, on the small map:

    .. math::
        y = b + \sum_{i,j} U_i \, (w_{ij} \cdot x) \, V_j^\top

    with :math:`U_i` the (size[0] x H) interpolation of rows shifted by the tap, zero outside the image, and :math:`V_j`
    that of columns. Equal to ``conv2d(interpolate(x))`` up to rounding. The backward pass keeps only x, and the
    arithmetic falls by about the ratio of the two areas. The bias joins the unshifted tap, whose interpolation weights
    sum to one.

    Args:
        features: (B, C, H, W).
        weight: (O, C, 3, 3).
        bias: (O,), or None.
        size: Rows and columns to upsample to.

    Returns:
        (B, O, size[0], size[1]).
    """
    height, width = features.shape[2:]
    rows = _shifted_interpolation(features, height, size[0]).flatten(0, 1).T
    columns = _shifted_interpolation(features, width, size[1])
    middle = None if bias is None else F.pad(bias[:, None], (1, 1)).flatten()
    total = None
    for j, shifted in enumerate(columns):
        taps = weight[:, :, :, j].transpose(1, 2).flatten(0, 1)[:, :, None, None]
        mixed = F.conv2d(features, taps, middle if j == 1 else None).reshape(-1, 3 * height, width)
        tall = torch.matmul(rows, mixed).flatten(0, 1)
        total = torch.mm(tall, shifted) if total is None else torch.addmm(total, tall, shifted)
    assert total is not None
    return total.view(len(features), len(weight), *size)


def _shifted_interpolation(features: Tensor, length: int, side: int) -> Tensor:
    # (3, length, side): what each position adds to each upsampled one, read at the shifts -1, 0 and 1
    basis = torch.eye(length, dtype=features.dtype, device=features.device)
    weights = F.pad(F.interpolate(basis[None], size=side, mode="linear", align_corners=True)[0], (1, 1))
    return torch.stack([weights[:, shift : shift + side] for shift in range(3)])
