"""Accuracy of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from locallearn.partitioning.tracing import keeping_modes

if TYPE_CHECKING:
    from locallearn.datasets.batches import Batches


@dataclass(frozen=True)
class Accuracy:
    """How many images were given their own class.

    Args:
        correct: Images whose largest output is their class.
        count: Images in all.
    """

    correct: int
    count: int

    @property
    def percent(self) -> float:
        """Share of correct images in percent."""
        return 100 * self.correct / self.count

    @property
    def error(self) -> float:
        """Share of wrong images in percent."""
        return 100 * (self.count - self.correct) / self.count


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode returns at the end.

    Args:
        network: Any network.

    Yields:
        None: While the network is evaluated.
    """
    with keeping_modes(network), torch.no_grad():
        network.eval()
        yield


def evaluate(network: nn.Module, batches: Batches, *, before_batch: Callable[[], None] | None = None) -> Accuracy:
    """Classify every image once, in fp32, waiting for the device only at the end.

    Args:
        network: Gives logits (N, classes) for inputs (N, C, H, W).
        batches: Images and their classes.
        before_batch: Called before each batch; may raise to stop.

    Returns:
        The accuracy.
    """
    correct, count = torch.zeros((), dtype=torch.int64, device=batches.labels.device), 0
    with evaluating(network):
        for inputs, targets in batches.epoch(0):
            if before_batch is not None:
                before_batch()
            correct += (network(inputs).argmax(1) == targets).sum()
            count += len(targets)
    return Accuracy(int(correct), count)
