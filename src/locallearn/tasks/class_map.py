"""How much of each cell of a map the classes of the objects cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def class_map(
    image_size: Sequence[int], targets: Sequence[Mapping[str, Tensor]], num_outputs: int, size: Sequence[int]
) -> Tensor:
    r"""Shares of every cell, painted from masks where there are some, else from boxes, smaller objects over larger.

    Let an image's objects be ordered by area, and let object j cover :math:`a_{ij}` of cell i. It is painted on
    :math:`\min(1, \sum_{l \le j} a_{il}) - \min(1, \sum_{l < j} a_{il})` of the cell: exact where the objects in a
    cell are disjoint, as visible masks are, or cover the whole of it.

    Args:
        image_size: Height and width of the images, of which the map covers the whole.
        targets: For each image `boxes` (n, 4), `labels` (n,) from 1, perhaps `masks` (n, h, w), no larger
            than the images.
        num_outputs: Classes with the background, class 0.
        size: Height and width of the map, in cells.

    Returns:
        (N, num_outputs, height, width), float32, non-negative, with sum 1 over the classes.
    """
    return torch.stack([_of_image(image_size, target, num_outputs, size) for target in targets])


def _of_image(image_size: Sequence[int], target: Mapping[str, Tensor], num_outputs: int, size: Sequence[int]) -> Tensor:
    boxes, labels, masks = target["boxes"].float(), target["labels"], target.get("masks")
    shares = boxes.new_zeros(num_outputs, *size)
    if not len(boxes):
        return shares.index_fill(0, labels.new_zeros(1), 1.0)
    covered = _by_boxes(boxes, image_size, size) if masks is None else _by_masks(masks, image_size, size)
    order = covered.sum((1, 2)).argsort(stable=True)
    painted = covered[order].cumsum(0).clamp(max=1)
    shares.index_add_(0, labels[order], painted.diff(dim=0, prepend=torch.zeros_like(painted[:1])))
    shares[0] += 1 - painted[-1]
    return shares


def _by_masks(masks: Tensor, image_size: Sequence[int], size: Sequence[int]) -> Tensor:
    height, width = masks.shape[-2:]
    whole = F.pad(masks.float(), (0, image_size[1] - width, 0, image_size[0] - height))
    return F.adaptive_avg_pool2d(whole[None], (size[0], size[1]))[0]


def _by_boxes(boxes: Tensor, image_size: Sequence[int], size: Sequence[int]) -> Tensor:
    """The part of each cell inside each box, which is that of its rows times that of its columns."""
    parts = []
    for axis in (1, 0):
        cells, cell = size[1 - axis], image_size[1 - axis] / size[1 - axis]
        start = torch.arange(cells, device=boxes.device) * cell
        low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
        parts.append((high.minimum(start + cell) - low.maximum(start)).clamp(min=0) / cell)
    rows, columns = parts
    return rows[:, :, None] * columns[:, None, :]
