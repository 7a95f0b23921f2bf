"""Groups of processes that talk to each other; every process must ask for all of them, in the same order."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import torch.distributed as dist

from locallearn.parallel.layout import Layout

NEVER = timedelta(days=365)


def pipelines(layout: Layout, replica: int, timeout: timedelta) -> tuple[dist.ProcessGroup, dist.ProcessGroup]:
    """The stages of a part of the batch.

    Args:
        layout: How processes share blocks and batches.
        replica: The part.
        timeout: How long one waits for another.

    Returns:
        One group for what goes forward, which is received ahead of need and so has no time-out of its own: who needs it
        has one. And one for what goes back.
    """
    columns = [[layout.rank(stage, r) for stage in range(layout.blocks)] for r in range(layout.replicas)]
    backward = [dist.new_group(ranks, timeout) for ranks in columns]
    forward = [dist.new_group(ranks, NEVER) for ranks in columns]
    return cast(tuple[dist.ProcessGroup, dist.ProcessGroup], (forward[replica], backward[replica]))


def replicas_of(layout: Layout, stage: int, timeout: timedelta) -> dist.ProcessGroup | None:
    """The processes with the same blocks.

    Args:
        layout: How processes share blocks and batches.
        stage: Group of blocks.
        timeout: How long one waits for another.

    Returns:
        Their group; None if there is one alone.
    """
    if layout.replicas == 1:
        return None
    rows = [[layout.rank(s, replica) for replica in range(layout.replicas)] for s in range(layout.blocks)]
    return cast(dist.ProcessGroup, [dist.new_group(ranks, timeout) for ranks in rows][stage])
