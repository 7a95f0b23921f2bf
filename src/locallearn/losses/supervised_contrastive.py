"""Supervised contrastive loss: pull samples of one class together, push all others away."""

from __future__ import annotations

import torch
from torch import Tensor

from locallearn.errors import InputError
from locallearn.losses._precision import unit_rows, without_autocast, working_dtype


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    r"""Supervised contrastive loss of one view per sample.

    .. math::
        L = \frac{1}{B} \sum_a \frac{1}{|P(a)|} \sum_{p \in P(a)}
            \left[ \log \sum_{q \ne a} \exp\frac{z_a \cdot z_q}{\tau} - \frac{z_a \cdot z_p}{\tau} \right]

    with :math:`z` the features divided by their Euclidean norm and :math:`P(a)` the other samples of a's class. An
    anchor without positives adds zero but still counts in B.

    Args:
        features: (B, D), not yet normalised.
        labels: (B,) class indices.
        temperature: :math:`\tau`, above 0.

    Returns:
        Scalar, at least float32 also for half precision and under autocast; 0 for a batch of one sample.

    Raises:
        InputError: If ``temperature`` is not above 0.

    Source:
        Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2, with one view and equal temperature
        and base temperature, as in the released code of InfoPro (Wang et al., ICLR 2021).

    Departures:
        A batch of one sample gives 0 where the released code gives NaN; an all-zero sample gets the gradient zero.
    """
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, got {temperature}: the published value is 0.07")
    with without_autocast(features):
        units = unit_rows(features.to(working_dtype(features)))
        itself = torch.eye(len(units), dtype=torch.bool, device=units.device)
        logits = (units @ units.T / temperature).masked_fill(itself, torch.finfo(units.dtype).min)
        positives = (labels[:, None] == labels[None, :]) & ~itself
        count = positives.sum(1)
        mean_positive = torch.where(positives, logits, 0.0).sum(1) / count.clamp(min=1)
        return torch.where(count > 0, logits.logsumexp(1) - mean_positive, 0.0).mean()
