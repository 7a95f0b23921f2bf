"""What MAN and MLAAN share: copies of later units that follow the network as moving averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from locallearn.abstract_method import Context, Wrapper
from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from locallearn.look_ahead import LookAhead
    from locallearn.objective import LocalObjective


@dataclass(frozen=True, kw_only=True)
class Averaging(Wrapper):
    """A method whose objectives hold copies of later units.

    Args:
        base: The method whose heads and losses read what the copies return.
        momentum: m in `copy <- m copy + (1 - m) source`, between 0 and 1.
        update: `"after_step"`: the average sees the source as the optimizer left it. `"before_step"`: as it was in the
            batch's forward pass, one step behind; of several batches accumulated into one step, after the first.
        start: `"equal"`: copies start as their source is when the model is built, so load weights into the network
            before. `"independent"`: each is drawn anew.
        buffers: `"own"`: a copy's normalisation keeps running statistics of its own batches. `"averaged"`: they follow
            the source's and nothing else.

    Raises:
        InputError: The momentum is not between 0 and 1.
    """

    momentum: float = 0.995
    update: Literal["after_step", "before_step"] = "after_step"
    start: Literal["equal", "independent"] = "equal"
    buffers: Literal["own", "averaged"] = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum <= 1:
            raise InputError(
                f"{type(self).__name__}'s momentum is the share of a copy that stays in each step, between 0 and 1, "
                f"not {self.momentum}."
            )

    def copied(self, context: Context, index: int, count: int = 1) -> nn.Module:
        """A copy of units with its initial values.

        Args:
            context: The network's units.
            index: The first unit.
            count: How many units.

        Returns:
            A trainable module with the parameter names of its source.
        """
        from locallearn.auxiliary.initial_values import draw_anew

        copy = context.partition.copy_unit(index, count).requires_grad_(True)
        if self.start == "independent":
            draw_anew(copy)
        return copy

    def look_ahead(
        self,
        layers: Sequence[nn.Module],
        objective: LocalObjective,
        averaged: Sequence[nn.Module],
        frozen: Sequence[nn.Module],
    ) -> LookAhead:
        """An objective behind layers, some of whose copies follow the network.

        Args:
            layers: What the features pass first.
            objective: The base's, at the layers' output.
            averaged: The copies that follow.
            frozen: The copies that get no gradient.

        Returns:
            The objective.
        """
        from locallearn.look_ahead import LookAhead

        if self.buffers == "averaged":
            _hold_running_statistics(averaged)
        return LookAhead(
            layers,
            objective,
            averaged=averaged,
            frozen=frozen,
            momentum=self.momentum,
            before_step=self.update == "before_step",
            buffers=self.buffers == "averaged",
        )


def _hold_running_statistics(copies: Sequence[nn.Module]) -> None:
    """Keep a copy's own batches out of its running statistics."""
    from torch.nn.modules.batchnorm import _NormBase

    for module in (inner for copy in copies for inner in copy.modules()):
        if isinstance(module, _NormBase):
            module.momentum = 0.0
