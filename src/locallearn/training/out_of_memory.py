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

IN_TRAINING = (
    "Cut the network into more blocks (--num-blocks), or take smaller batches and add their gradients up "
    "(--batch-size with --training.accumulate)."
)
"""What to do about it in training."""
SMALLER_BATCHES = "Give a smaller --batch-size."
"""What to do about it where nothing is trained."""


@contextmanager
def memory_explained(
    activity: str, *, remedy: str, device: torch.device, model: LocalModel | None = None
) -> Iterator[None]:
    """Turn out-of-memory errors into a message with place, peak and remedy.

    Args:
        activity: What is being done, such as `"with batches of 128"`.
        remedy: What to do instead, in one sentence.
        device: Where it is done.
        model: What is trained, if anything is; its `active_window` tells where it was.

    Yields:
        None: While memory may run out.

    Raises:
        TrainingStopped: Memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        place = "" if model is None else f" {_place(model)}"
        raise TrainingStopped(
            f"Memory ran out on {device}{place} {activity}; the peak was {_peak(device)}. {remedy}"
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; the CPU's allocator has no class of its own for it.

    Args:
        error: Any error.

    Returns:
        True if it does.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _place(model: LocalModel) -> str:
    active = model.active_window
    where = "outside the blocks" if active is None else f"in {described(model.windows[active])}"
    return f"{where}, of {len(model.partition.blocks)} blocks,"


def _peak(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB allocated by torch"
    if sys.platform == "win32":
        return "not measured"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20:.0f} MiB of the whole process"
