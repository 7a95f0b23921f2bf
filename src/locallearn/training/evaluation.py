"""How good a network is on images that it did not learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from locallearn.partitioning.tracing import keeping_modes

if TYPE_CHECKING:
    from locallearn.datasets.batching import AnyBatches
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


def evaluate(network: nn.Module, batches: AnyBatches, metric: Metric) -> dict[str, float]:
    """Let a network see every image once, in fp32, and count; waits for the device only at the end.

    Args:
        network: Takes the batches' inputs.
        batches: Images and their targets.
        metric: A new one, such as `task.metric()`.

    Returns:
        The metric's results, in percent, by name.
    """
    count(network, ((network(inputs), targets) for inputs, targets in batches.epoch(0)), metric)
    return metric.results()


def count(network: nn.Module, answers: Iterable[tuple[Any, Any]], metric: Metric) -> None:
    """Count what a network says, in evaluation mode and without gradients.

    Args:
        network: Whose answers are counted.
        answers: Its outputs and the targets, batch by batch, computed while they are drawn.
        metric: Takes them in.
    """
    with evaluating(network):
        for output, targets in answers:
            metric.update(output, targets)
