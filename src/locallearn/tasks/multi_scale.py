"""Segmentation by the mean of predictions at several scales, and of mirrored images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from locallearn.errors import InputError
from locallearn.metrics.mean_iou import logits_of

PUBLISHED_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class MultiScale(nn.Module):
    """A network whose prediction is averaged over resized and mirrored images.

    y = log(mean over scales s and mirrors m of m(softmax(resize(network(m(resize(x, s)))))))

    Images are resized to s times their size, in whole pixels, and logits back to that of the image, bilinear, corners
    not aligned. The softmax of y is the mean of the probabilities, so y serves wherever logits do. With one scale, 1,
    and no flip the prediction is the network's own.

    Args:
        network: Gives logits (N, C, h, w) or a dictionary with them as `"out"`; shared, not copied.
        scales: Factors of both sides.
        flip: Whether images mirrored left to right count as well.

    Raises:
        InputError: No scale, or one that is not positive.

    Source: mmsegmentation 0.10.0, `encoder_decoder.py`, `aug_test`; scales of InfoPro's configs on Cityscapes.
    Departures: batches on the device are resized, normalised, in floating point; mmcv resizes images of 8 bits before
        it normalises them.
    """

    def __init__(self, network: nn.Module, scales: Sequence[float] = PUBLISHED_SCALES, flip: bool = True) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise InputError(f"scales must be at least one positive factor, not {tuple(scales)}.")
        self.network = network
        self.scales = tuple(scales)
        self.flip = flip
        self.training = network.training

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """The averaged prediction.

        Args:
            inputs: (N, 3, H, W).

        Returns:
            The logarithm of mean probabilities, (N, C, H, W).
        """
        mirrors = (False, True) if self.flip else (False,)
        total: Tensor | None = None
        for scale in self.scales:
            resized = _resized(inputs, [max(1, round(side * scale)) for side in inputs.shape[2:]])
            for mirrored in mirrors:
                found = self._probabilities(resized.flip(3) if mirrored else resized, list(inputs.shape[2:]))
                found = found.flip(3) if mirrored else found
                total = found if total is None else total.add_(found)
        assert total is not None
        return total.div_(len(self.scales) * len(mirrors)).clamp_(min=torch.finfo(total.dtype).tiny).log_()

    def _probabilities(self, images: Tensor, size: list[int]) -> Tensor:
        return _resized(logits_of(self.network(images)), size).softmax(1)


def _resized(maps: Tensor, size: list[int]) -> Tensor:
    if list(maps.shape[2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
