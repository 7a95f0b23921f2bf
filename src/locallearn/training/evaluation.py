"""How good a network is on images that it did not learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from locallearn.partitioning.tracing import keeping_modes

if TYPE_CHECKING:
    from locallearn.metrics import Metric


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


def evaluate(network: nn.Module, answers: Iterable[tuple[Any, Any]], metric: Metric) -> None:
    """Count what a network says, in evaluation mode and without gradients.

    Args:
        network: Whose answers are counted.
        answers: Its outputs and the targets, batch by batch, computed while they are drawn.
        metric: Takes them in.
    """
    with evaluating(network):
        for output, targets in answers:
            metric.update(output, targets)
