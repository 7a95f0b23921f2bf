"""Classification of whole images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from locallearn.errors import InputError
from locallearn.tasks.task import Task


@dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy over classes.

    Args:
        num_classes: How many classes there are.

    Raises:
        InputError: Fewer than two classes.
    """

    num_classes: int

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise InputError(f"Classification needs at least 2 classes, not {self.num_classes}.")

    @property
    @override
    def num_outputs(self) -> int:
        return self.num_classes

    @property
    @override
    def has_labels(self) -> bool:
        return True

    @override
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    @override
    def output_loss(self, output: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(output, targets)

    @override
    def labels(self, targets: Tensor) -> Tensor:
        return targets
