"""Every source of randomness a run draws from: seeded together, captured and restored as plain data and tensors."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from locallearn.errors import TrainingStopped


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (all devices).

    Args:
        seed: Any non-negative integer; NumPy takes its lowest 32 bits.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def captured() -> dict[str, Any]:
    """All random states in types that `torch.load(weights_only=True)` accepts.

    Returns:
        `torch`, `accelerator` (a tensor for each device of this machine's kind), `numpy` (its key vector as a tensor)
        and `python`.
    """
    kind, key, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "accelerator": [get() for get, _ in _accelerator_states()],
        "numpy": (kind, torch.from_numpy(np.asarray(key, dtype=np.int64)), *rest),
        "python": random.getstate(),
    }


def restore(state: dict[str, Any]) -> None:
    """Continue drawing where `captured` was called.

    Args:
        state: What `captured` returned; states beyond the present devices are left out.
    """
    torch.set_rng_state(state["torch"])
    for device_state, (_, put) in zip(state["accelerator"], _accelerator_states(), strict=False):
        put(device_state)
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """PyTorch's deterministic algorithms (never warn-only) for the length of a block.

    Args:
        enabled: False leaves everything as it is.

    Yields:
        None: The former settings return at the end.
    """
    if not enabled:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


@contextmanager
def determinism_explained() -> Iterator[None]:
    """Turn PyTorch's refusal of an operator without a deterministic form into a message with the remedy.

    Yields:
        None: While operators run.

    Raises:
        TrainingStopped: An operator was refused.
    """
    try:
        yield
    except Exception as error:
        if not is_nondeterministic(error):
            raise
        refused = str(error).partition(". ")[0]
        raise TrainingStopped(
            f"{refused}. Start the run again without --deterministic, or with a network and method that do without "
            "this operator."
        ) from error


def is_nondeterministic(error: BaseException) -> bool:
    """Whether an error is PyTorch's refusal of an operator without a deterministic form.

    Args:
        error: Any error.

    Returns:
        True if it is.
    """
    return isinstance(error, RuntimeError) and "use_deterministic_algorithms" in str(error)


def _accelerator_states() -> list[Any]:
    # How to read and write each device's state; MPS has a single device, and no index for it.
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return []
    module = torch.get_device_module(accelerator)
    if accelerator.type == "mps":
        return [(module.get_rng_state, module.set_rng_state)]
    return [
        (partial(module.get_rng_state, index), partial(module.set_rng_state, device=index))
        for index in range(torch.accelerator.device_count())
    ]
