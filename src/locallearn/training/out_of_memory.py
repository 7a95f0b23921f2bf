"""Running out of memory, told in terms of blocks and batches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from locallearn.errors import TrainingStopped
from locallearn.training.loss_guard import described

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel


@contextmanager
def memory_explained(model: LocalModel, batch_size: int, device: torch.device) -> Iterator[None]:
    """Turn out-of-memory errors into a message with block, batch, peak and remedies.

    Args:
        model: What is trained; its `active_window` tells where it was.
        batch_size: Images per batch.
        device: Where the model is.

    Yields:
        Nothing.

    Raises:
        TrainingStopped: Memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not _out_of_memory(error):
            raise
        active = model.active_window
        place = "outside the blocks" if active is None else f"in {described(model.windows[active])}"
        raise TrainingStopped(
            f"Memory ran out on {device} {place}, with {len(model.partition.blocks)} blocks and batches of "
            f"{batch_size}; the peak was {_peak(device)}. Cut the network into more blocks (--num-blocks), or take "
            "smaller batches and add their gradients up (--batch-size with --training.accumulate)."
        ) from None


def _out_of_memory(error: BaseException) -> bool:
    # The CPU allocator has no class of its own for this.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _peak(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB allocated by torch"
    if sys.platform == "win32":
        return "not measured"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20:.0f} MiB of the whole process"
