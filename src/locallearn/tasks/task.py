"""The interface between a task and the methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class Task(ABC):
    """Owns the loss, the number of outputs of a local head, and the labels."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """How many numbers a local head predicts per sample (or per pixel)."""

    @property
    @abstractmethod
    def has_labels(self) -> bool:
        """Whether `labels` gives one class per sample, which similarity and contrastive losses need."""

    @abstractmethod
    def fits(self, output_shape: tuple[int, ...]) -> bool:
        """Whether a network with such outputs can learn the task.

        Args:
            output_shape: Shape of the network's output for one sample.

        Returns:
            True if it can.
        """

    @abstractmethod
    def check_targets(self, targets: Tensor, batch_size: int) -> None:
        """Refuse targets that the losses cannot read; values are looked at on a CPU only, where it costs no waiting.

        Args:
            targets: As given to `LocalModel.local_backward`.
            batch_size: How many inputs there are.

        Raises:
            InputError: Wrong type, shape or values.
        """

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of a local head.

        Args:
            logits: `(N, num_outputs)`.
            targets: As given to `LocalModel.local_backward`.

        Returns:
            A scalar, the mean over the batch.
        """

    @abstractmethod
    def output_loss(self, output: Any, targets: Tensor) -> Tensor:
        """Loss of the network's own output.

        Args:
            output: What the network returns.
            targets: As given to `LocalModel.local_backward`.

        Returns:
            A scalar, the mean over the batch.
        """

    @abstractmethod
    def labels(self, targets: Tensor) -> Tensor:
        """One class per sample.

        Args:
            targets: As given to `LocalModel.local_backward`.

        Returns:
            `(N,)` class indices.

        Raises:
            InputError: The task has no labels (`has_labels` is False).
        """
