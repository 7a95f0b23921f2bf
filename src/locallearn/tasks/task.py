"""The interface between a task and the methods."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor

from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from locallearn.metrics import Metric


def too_few(task: str, num_classes: object, least: int, counted: str = "classes") -> list[str]:
    """What is wrong with a number of classes.

    Args:
        task: The task's name.
        num_classes: What was given.
        least: How many there must be.
        counted: What is counted.

    Returns:
        A sentence, if there is something.
    """
    if isinstance(num_classes, int) and num_classes >= least:
        return []
    return [f"{task} needs at least {least} {counted}, not {num_classes!r}."]


def described(value: object) -> str:
    """A wrong argument in few words, without its contents.

    Args:
        value: Anything.

    Returns:
        Type and shape of a tensor or array, the length of a list, else a short form of the value.
    """
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array: Any = value
        return f"a {type(value).__name__} of {array.dtype} {tuple(array.shape)}"
    return f"a list of {len(value)}" if isinstance(value, list) else reprlib.repr(value)


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
        """Whether a network whose output is one tensor can learn the task from it.

        Args:
            output_shape: Shape of the network's output for one sample.

        Returns:
            True if it can; always False where the task reads more than a tensor, as detection does.
        """

    def check_network(self, network: nn.Module) -> None:  # noqa: B027
        """Refuse a network that cannot learn the task for other reasons than its output's shape.

        Args:
            network: Any network.

        Raises:
            InputError: It is of another kind, or made for other classes.
        """

    def enter(self, network: nn.Module, inputs: Any, targets: Any) -> tuple[Tensor, Any]:
        """Inputs and targets as the first block and the losses read them: what was given, unless overridden.

        Args:
            network: The network, which may own what prepares its inputs, as detectors do.
            inputs: As given to `LocalModel.local_backward`.
            targets: Likewise.

        Returns:
            A batch `(N, ...)` and its targets.

        Raises:
            InputError: The inputs are of another kind than the network reads.
        """
        if not isinstance(inputs, Tensor):
            raise InputError(f"Inputs must be one tensor (N, ...), not {described(inputs)}: torch.as_tensor makes one.")
        return inputs, targets

    @abstractmethod
    def check_targets(self, targets: Any, batch_size: int) -> None:
        """Refuse targets that the losses cannot read; values are looked at on a CPU only, where it costs no waiting.

        Args:
            targets: As given to `LocalModel.local_backward`.
            batch_size: How many inputs there are.

        Raises:
            InputError: Wrong type, shape or values.
        """

    def check_samples(self, network: nn.Module, samples: Any) -> None:  # noqa: B027
        """Refuse training images that lack what a network learns from; called once, before training.

        Args:
            network: The network to train.
            samples: The images, as `datasets.Samples` or in memory.

        Raises:
            InputError: What is missing, from which file, and what to do.
        """

    def head(self, shape: tuple[int, ...]) -> nn.Module | None:
        """The local head that the task calls for, which takes the place of a method's own.

        Args:
            shape: Of the features that it reads, without batch.

        Returns:
            A module from features to `(N, num_outputs, ...)`; None where the methods' own heads, which predict once per
            sample, will do.
        """
        return None

    @abstractmethod
    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Loss of a local head.

        Args:
            logits: `(N, num_outputs)`, or `(N, num_outputs, h, w)` where the task predicts per pixel.
            targets: As `enter` returned them.

        Returns:
            A scalar, the mean over the batch.
        """

    @abstractmethod
    def output_loss(self, network: nn.Module, output: Any, targets: Any) -> Tensor:
        """Loss of what the last block returns.

        Args:
            network: The network, some of whose modules may stand between the blocks and the loss.
            output: What the last block returned: the network's output, or its body's.
            targets: As `enter` returned them.

        Returns:
            A scalar, the mean over the batch.
        """

    def prediction(self, output: Any) -> Tensor | None:
        """The logits in what the last block returns.

        Args:
            output: What the last block returned.

        Returns:
            A tensor as `loss` reads it, or None if there is none.
        """
        return output if isinstance(output, Tensor) else None

    @abstractmethod
    def hits(self, logits: Tensor, targets: Any) -> tuple[Tensor, int | Tensor] | None:
        """How often a local head is right.

        Args:
            logits: As `loss` reads them.
            targets: As given to `LocalModel.local_backward`.

        Returns:
            Right predictions and predictions in all; None where the task does not count so.
        """

    @abstractmethod
    def blank_targets(self, inputs: Tensor) -> Any:
        """Targets of the right kind and size whose values do not matter, to plan and to time steps with.

        Args:
            inputs: A batch, perhaps of fake tensors.

        Returns:
            Targets on the same device.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """A new count of how good the network's outputs are.

        Returns:
            What `training.evaluate` feeds with outputs.
        """

    @abstractmethod
    def labels(self, targets: Any) -> Tensor:
        """One class per sample.

        Args:
            targets: As `enter` returned them.

        Returns:
            `(N,)` class indices.

        Raises:
            InputError: The task has no labels (`has_labels` is False).
        """
