"""Classification of whole images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from typing_extensions import override

from locallearn.errors import InputError, listed
from locallearn.metrics.top_accuracy import TopAccuracy
from locallearn.tasks.task import Task, described, too_few


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
        if problems := too_few("Classification", self.num_classes, 2):
            raise InputError(listed(problems))

    @property
    @override
    def num_outputs(self) -> int:
        return self.num_classes

    @property
    @override
    def has_labels(self) -> bool:
        return True

    @override
    def fits(self, output_shape: tuple[int, ...]) -> bool:
        return output_shape == (self.num_classes,)

    @override
    def check_targets(self, targets: Tensor, batch_size: int) -> None:
        if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.shape != (batch_size,):
            raise InputError(
                f"Targets must be class indices, torch.int64 of shape ({batch_size},), not {described(targets)}."
            )
        if batch_size == 0:
            raise InputError("The batch is empty.")
        if targets.device.type == "cpu" and not isinstance(targets, FakeTensor):
            low, high = (int(value) for value in torch.aminmax(targets))
            if low < 0 or high >= self.num_classes:
                raise InputError(f"Labels range from {low} to {high}; the classes are 0 to {self.num_classes - 1}.")

    @override
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    @override
    def output_loss(self, network: nn.Module, output: Any, targets: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise InputError(
                f"{type(network).__name__} returns {type(output).__name__}, and the task's loss reads a tensor; wrap "
                "the network in a module that returns the tensor to learn from."
            )
        return F.cross_entropy(output, targets)

    @override
    def hits(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        return (logits.argmax(1) == targets).sum(), len(targets)

    @override
    def blank_targets(self, inputs: Tensor) -> Tensor:
        return torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)

    @override
    def metric(self) -> TopAccuracy:
        return TopAccuracy(self.num_classes)

    @override
    def labels(self, targets: Tensor) -> Tensor:
        return targets
