"""Reconstruction: how well the input image can be restored from a feature."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from locallearn.errors import InputError
from locallearn.losses._precision import without_autocast, working_dtype


def reconstruction(logits: Tensor, images: Tensor) -> Tensor:
    r"""Binary cross-entropy between a restored image and the image, mean over everything.

    .. math::
        L = -\frac{1}{N} \sum_{i=1}^{N} \left[ x_i \log \sigma(z_i) + (1 - x_i) \log(1 - \sigma(z_i)) \right]

    over the N = B C H W values. Pixels are real numbers, so the minimum, at :math:`\sigma(z) = x`, is not zero but the
    mean entropy of the target :math:`-\frac{1}{N} \sum_i [x_i \log x_i + (1 - x_i) \log(1 - x_i)]`.

    Args:
        logits: (B, C, H, W), the decoder's output before the sigmoid.
        images: (B, C, H, W), the input un-normalised, in [0, 1].

    Returns:
        Scalar, at least float32 also for half precision and under autocast.

    Raises:
        InputError: If the two shapes differ.

    Source:
        Wang et al., "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training", ICLR 2021
        (InfoPro), and its released code.

    Departures:
        From logits: the released code takes the logarithm of a sigmoid's output, clamped at -100.
    """
    if logits.shape != images.shape:
        raise InputError(
            f"the restored image has shape {tuple(logits.shape)} and the image {tuple(images.shape)}: "
            "build the decoder for the shape of the images"
        )
    dtype = working_dtype(logits)
    with without_autocast(logits):
        return F.binary_cross_entropy_with_logits(logits.to(dtype), images.to(dtype))
