"""How the processes of a recipe's run work together."""

from __future__ import annotations

from typing import Literal

from locallearn.recipes.section import Positive, Section, Whole


class DistributedSection(Section):
    """How several processes work together, where torchrun starts them; one process alone does not care."""

    gather: bool = False
    """Compare the samples of all processes where a loss compares samples, as one process would."""
    shard: bool = False
    """Keep a part of each block's parameters and optimizer state in every process alone (data=N)."""
    sync_batch_norm: bool = False
    """Normalise by the statistics of all processes' samples (accelerators)."""
    crossing: Literal["refuse", "send_back"] = "refuse"
    """What to do about windows with blocks in several processes: refuse them, or send their gradients back."""
    exchange_every: Whole = 1
    """Steps after which copies are told of followed parameters that another process trains; 1 is exact."""
    queue: Whole = 2
    """Batches under way between two processes with neighbouring blocks."""
    replay: Whole | None = None
    """Batches that processes keep to learn from again, so that none waits for another; none keeps all in step."""
    transfer: Literal["own", "bf16"] = "own"
    """Type in which activations travel; bf16 halves the traffic of fp32 and rounds."""
    timeout: Positive = 600.0
    """Seconds that a process waits for another."""
