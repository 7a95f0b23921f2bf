"""The local losses written sample by sample from their formulas: slow, differentiable, to be checked by eye."""

from __future__ import annotations

import torch
from torch import Tensor


def similarity(rows: list[Tensor], damping: float = 1e-8) -> list[list[Tensor]]:
    """Clamped cosine similarity of centred rows."""
    units = []
    for row in rows:
        centred = row - row.sum() / len(row)
        units.append(centred / (centred.square().sum().sqrt() + damping))
    return [[(a * b).sum().clamp(-1, 1) for b in units] for a in units]


def spatial_std(channel: Tensor) -> Tensor:
    """Unbiased standard deviation of one (H, W) channel."""
    deviations = channel - channel.sum() / channel.numel()
    return (deviations.square().sum() / (channel.numel() - 1)).sqrt()


def similarity_rows(features: Tensor) -> list[Tensor]:
    """What of each sample is compared: the deviation of each channel, or everything."""
    if features.ndim == 4 and features.shape[1] > 3 and features.shape[2] > 1:
        return [torch.stack([spatial_std(channel) for channel in sample]) for sample in features]
    return [sample.reshape(-1) for sample in features]


def similarity_matching(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean squared difference to the similarities of the one-hot labels themselves, undamped."""
    found = similarity(similarity_rows(features))
    wanted = similarity(list(torch.eye(num_classes, dtype=features.dtype)[labels]), damping=0.0)
    batch = len(features)
    total = features.new_zeros(())
    for i in range(batch):
        for j in range(batch):
            total = total + (found[i][j] - wanted[i][j].detach()) ** 2
    return total / batch**2


def reconstruction(logits: Tensor, images: Tensor) -> Tensor:
    """Mean binary cross-entropy between the sigmoid of the logits and the images."""
    restored = 1 / (1 + torch.exp(-logits))
    entropy = -(images * torch.log(restored) + (1 - images) * torch.log(1 - restored))
    return entropy.sum() / entropy.numel()


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Per anchor the mean over positives of log of the sum over all others minus the positive's own logit."""
    units = [row / row.square().sum().sqrt() for row in features]
    batch = len(features)
    total = features.new_zeros(())
    for a in range(batch):
        others = [q for q in range(batch) if q != a]
        positives = [p for p in others if labels[p] == labels[a]]
        if not positives:
            continue
        denominator = sum(torch.exp((units[a] * units[q]).sum() / temperature) for q in others)
        terms = [torch.log(denominator) - (units[a] * units[p]).sum() / temperature for p in positives]
        total = total + sum(terms) / len(positives)
    return total / batch
