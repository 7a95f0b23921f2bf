"""Stops a run whose losses or weights are no longer numbers, and says where it began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from locallearn.errors import TrainingStopped
from locallearn.parallel.sharding import here

if TYPE_CHECKING:
    from locallearn.abstract_method import Window
    from locallearn.local_model import LocalModel

READ_EVERY = 50
NEVER = torch.iinfo(torch.int64).max


class LossGuard:
    """Memory of the first step at which each window's loss was NaN or infinite.

    On the CPU every step is read at once, before the optimizer acts on it. On other devices the memory stays there and
    is read every 50 steps and whenever `check` is called, so that no step waits for the device.

    Args:
        windows: The method's windows.
        device: Where the losses are.
    """

    def __init__(self, windows: Sequence[Window], device: torch.device) -> None:
        self.windows = tuple(windows)
        self.every = 1 if device.type == "cpu" else READ_EVERY
        self.first_bad = torch.full((len(self.windows),), NEVER, dtype=torch.int64, device=device)

    def watch(self, losses: Tensor, step: int) -> None:
        """Take in one batch's losses.

        Args:
            losses: (windows,), on the guard's device.
            step: The step they belong to, counted from 1.

        Raises:
            TrainingStopped: A loss was NaN or infinite.
        """
        bad = torch.where(torch.isfinite(losses), NEVER, step)
        torch.minimum(self.first_bad, bad, out=self.first_bad)
        if step % self.every == 0:
            self.check()

    def check(self) -> None:
        """Read what was remembered.

        Raises:
            TrainingStopped: A loss was NaN or infinite; the first such step and its windows are named.
        """
        steps = self.first_bad.tolist()
        if (step := min(steps)) != NEVER:
            first_ones = [described(w) for w, first in zip(self.windows, steps, strict=True) if first == step]
            raise TrainingStopped(
                f"The loss of {', '.join(first_ones)} is NaN or infinite at step {step}: "
                "lower the learning rate (--training.lr) or clip gradients (--training.clip-norm)."
            )


def check_weights(model: LocalModel, step: int) -> None:
    """Read every weight once.

    Args:
        model: What is trained.
        step: Steps made.

    Raises:
        TrainingStopped: Weights are NaN or infinite; their windows are named.
    """
    parts = [[here(p) for p in model.window_parameters(i) if not p.is_meta] for i in range(len(model.windows))]
    sizes = [_largest(parameters) for parameters in parts]
    bad = [described(w) for w, size in zip(model.windows, sizes, strict=True) if not torch.isfinite(size)]
    if bad:
        raise TrainingStopped(
            f"Weights of {', '.join(bad)} are NaN or infinite after step {step}: "
            "lower the learning rate (--training.lr) or clip gradients (--training.clip-norm)."
        )


def described(window: Window) -> str:
    """The blocks of a window in words.

    Args:
        window: One of a method's windows.

    Returns:
        `"block 3"` or `"blocks 3 to 5"`, counted from 0.
    """
    last = window.stop - 1
    return f"block {window.start}" if window.start == last else f"blocks {window.start} to {last}"


def _largest(parameters: Sequence[Tensor]) -> Tensor:
    return nn.utils.get_total_norm([parameter.detach() for parameter in parameters], float("inf"), foreach=True)
