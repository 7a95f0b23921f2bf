"""Where the seconds of a step go."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import optim
from typing_extensions import override

from locallearn.engine.step_listener import StepListener
from locallearn.local_model import LocalModel

Key = tuple[str, int]
"""What is going on: a block's `"forward"`, or a window's `"auxiliary"` or `"backward"`; or the step's `"update"`."""


class StepClock(StepListener):
    """Takes steps of a model and charges each second to what is going on; an accelerator is waited for at every border.

    Args:
        model: The model.
    """

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._seconds: dict[Key, float] = {}
        self._since = 0.0
        self.now: Key = ("forward", 0)

    def step(self, inputs: Any, targets: Any, optimizer: optim.Optimizer | None = None) -> dict[Key, float]:
        """Take one step, which leaves no gradients.

        Args:
            inputs: As `LocalModel.local_backward` reads them.
            targets: Likewise.
            optimizer: Steps then; nothing changes if None.

        Returns:
            Seconds by what was going on.
        """
        self._seconds, self.now = defaultdict(float), ("forward", 0)
        self._begin(self.now)
        self._seconds.clear()
        self._model.local_backward(inputs, targets, listener=self)
        self._begin(("update", 0))
        if optimizer is not None:
            optimizer.step()
            self._model.after_step()
        else:
            self._model.averages.forget()
        self._model.zero_grad(set_to_none=True)
        self._begin(("update", 0))
        return self._seconds

    def _begin(self, key: Key) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        moment = time.perf_counter()
        self._seconds[self.now] += moment - self._since
        self._since, self.now = moment, key

    @override
    def before_block(self, index: int) -> None:
        self._begin(("forward", index))

    @override
    def before_objective(self, index: int) -> None:
        self._begin(("auxiliary", index))

    @override
    def before_backward(self, index: int) -> None:
        self._begin(("backward", index))


def median_step(steps: Iterable[Mapping[Key, float]]) -> dict[Key, float]:
    """The medians of what steps took, scaled to add up to the median step.

    Args:
        steps: Of `StepClock.step`.

    Returns:
        Seconds by what was going on.
    """
    found = list(steps)
    medians = {key: statistics.median(step[key] for step in found) for key in found[0]}
    # What disturbs one short piece or another in every step is in no piece's median; together they last a step.
    lasting = statistics.median(sum(step.values()) for step in found) / (sum(medians.values()) or 1.0)
    return defaultdict(float) | {key: median * lasting for key, median in medians.items()}


def block_seconds(model: LocalModel, inputs: Any, *, repeats: int = 3) -> list[float]:
    """How long each block takes in a step with its objectives; the model is afterwards as it was.

    Autocast is the caller's.

    Args:
        model: In training mode.
        inputs: A batch; targets are blank ones.
        repeats: Steps that count, after one that does not.

    Returns:
        Seconds of each block; those of a window's objective and backward pass count to its last.
    """
    before = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
    clock, targets = StepClock(model), model.task.blank_targets(inputs)
    with torch.random.fork_rng():
        _, *steps = [clock.step(inputs, targets) for _ in range(repeats + 1)]
    model.load_state_dict(before)
    spent = median_step(steps)
    seconds = [spent["forward", block] for block in range(len(model.partition.blocks))]
    for index, window in enumerate(model.windows):
        seconds[window.stop - 1] += spent["auxiliary", index] + spent["backward", index]
    return seconds
