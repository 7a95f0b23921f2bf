"""A model all of whose blocks are in this process: what a run does with it, alone or beside others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from locallearn.engine.step_listener import NOBODY, StepListener
from locallearn.local_model import LocalModel
from locallearn.objective import LocalOutput


class WholeModel:
    """Trains a model in one process; what `BlockParallel` must send and await happens here at once.

    Args:
        model: What is trained.

    `steps` counts optimizer steps; `targets` are those of the last batch.
    """

    is_first = True
    """Whether this process reads the batches."""
    borders: tuple[int, ...] = ()
    """Where blocks are divided among processes, as the first block behind each border."""
    stopped = False
    """Whether another process said that no batches follow."""

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self.windows: tuple[int, ...] = tuple(range(len(model.windows)))
        self.steps = 0
        self.targets: Any = None

    def local_backward(
        self,
        inputs: Any,
        targets: Any,
        *,
        share: float | None = None,
        average: bool = True,
        keep_logits: bool = False,
        scales: Sequence[float | Tensor] | None = None,
        listener: StepListener = NOBODY,
    ) -> list[LocalOutput]:
        """Add the gradients of a part of a batch to `.grad`.

        Args:
            inputs: See `LocalModel.local_backward`.
            targets: Likewise.
            share: How much of the step's samples these are; all if None.
            average: Whether this is the step's last part, after which processes add up.
            keep_logits: Whether the outputs hold what the local heads predict.
            scales: A further factor for each window's gradients.
            listener: Told of every block, objective and window.

        Returns:
            One output for each window.

        Raises:
            InputError: See `LocalModel.local_backward`.
        """
        self.targets = targets
        scales = shared_scales(scales, 1.0 if share is None else share, len(self.model.windows))
        return self.model.local_backward(inputs, targets, keep_logits=keep_logits, scales=scales, listener=listener)

    def after_step(self) -> None:
        """Update the moving averages; call after every `optimizer.step()`."""
        self.steps += 1
        self.model.after_step()

    @torch.no_grad()
    def outputs(self, batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """What the network says to batches; set the model's mode first.

        Args:
            batches: Pairs of inputs and targets.

        Yields:
            tuple: The network's output and the targets of each batch, in the process that has them.
        """
        for inputs, targets in batches:
            yield self.model.network(inputs), targets

    def settle(self) -> None:
        """Wait until nothing is under way between processes."""

    def stop(self) -> None:
        """Tell processes that wait for batches that none follow."""

    def stops(self) -> bool:
        """Whether the process before this one said that no batches follow.

        Returns:
            False: there is none before this one.
        """
        return False

    def close(self) -> None:
        """Wait until all has arrived; no batches can follow."""

    def heard(self) -> dict[str, Tensor]:
        """What copies here follow that is trained elsewhere, as they last heard of it.

        Returns:
            Nothing: all is here.
        """
        return {}


def shared_scales(
    scales: Sequence[float | Tensor] | None, share: float, windows: int
) -> Sequence[float | Tensor] | None:
    """Factors of the windows' gradients for a part of a batch.

    Args:
        scales: Those of the whole batch; 1 if None.
        share: How much of the batch the part is.
        windows: How many windows there are.

    Returns:
        A factor for each window; None if all are 1.
    """
    if scales is None:
        return None if share == 1 else [share] * windows
    return [scale * share for scale in scales]
