"""Share of samples whose class is the largest output, and among the five largest."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from locallearn.metrics.metric import Metric, added

MANY_CLASSES = 100


class TopAccuracy(Metric):
    """Top-1 accuracy, and top-5 accuracy where there are at least 100 classes.

    Args:
        num_classes: How many classes there are.
    """

    name: ClassVar[str] = "accuracy"

    def __init__(self, num_classes: int) -> None:
        self._ranks = 5 if num_classes >= MANY_CLASSES else 1
        self._correct: Tensor | None = None
        self._count = 0

    @override
    def update(self, output: Tensor, targets: Tensor) -> None:
        right = output.topk(self._ranks, 1).indices == targets[:, None]
        correct = torch.stack([right[:, 0].sum(), right.sum()])
        self._correct = added(self._correct, correct)
        self._count += len(targets)

    @override
    def absorb(self, other: TopAccuracy) -> None:
        self._correct = added(self._correct, other._correct)
        self._count += other._count

    @override
    def results(self) -> dict[str, float]:
        first, any_rank = (0, 0) if self._correct is None else self._correct.tolist()
        found = {"accuracy": 100 * first / max(self._count, 1)}
        return found | ({"top5_accuracy": 100 * any_rank / max(self._count, 1)} if self._ranks > 1 else {})
