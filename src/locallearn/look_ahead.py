"""Objectives that read the features through copies of later units, and what those copies follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from typing_extensions import override

from locallearn.auxiliary.ahead_layer import AheadLayer
from locallearn.objective import Batch, Follow, LocalObjective, Part


class LookAhead(LocalObjective):
    """Another objective, behind layers that all its parts read through.

    Args:
        layers: From the window's features to what the other objective reads.
        objective: Scores what the layers return.
        averaged: The copies inside `layers` that follow the network.
        frozen: The copies that get no gradient, whatever is done to the flags of the whole model's parameters.
        momentum: How much of a copy stays in each step.
        before_step: Whether the copies move before the optimizer's step instead of after it.
        buffers: Whether running statistics follow as well.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        objective: LocalObjective,
        *,
        averaged: Sequence[nn.Module] = (),
        frozen: Sequence[nn.Module] = (),
        momentum: float = 1.0,
        before_step: bool = False,
        buffers: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.objective = objective
        self._averaged = tuple(averaged)
        self._frozen = tuple(frozen)
        self._momentum = momentum
        self._before_step = before_step
        self._with_buffers = buffers

    @property
    @override
    def reads_inputs(self) -> bool:
        return self.objective.reads_inputs

    @override
    def prepare(self, features: Tensor) -> Tensor:
        for copy in self._frozen:
            copy.requires_grad_(False)
        return self.objective.prepare(self.layers(features))

    @override
    def parts(self, prepared: Tensor, batch: Batch) -> Iterator[Part]:
        return self.objective.parts(prepared, batch)

    @override
    def auxiliary_networks(self) -> Iterator[nn.Module]:
        yield from self.layers
        yield from self.objective.auxiliary_networks()

    @override
    def recompute_branches(self) -> None:
        for module in self.layers.modules():
            if isinstance(module, AheadLayer):
                module.recompute = True

    @override
    def follows(self) -> Iterator[Follow]:
        for copy in self._averaged:
            for name, tensor in copy.named_parameters():
                yield Follow(tensor, name, self._momentum, self._before_step)
            for name, tensor in copy.named_buffers() if self._with_buffers else ():
                if tensor.is_floating_point():
                    yield Follow(tensor, name, self._momentum, self._before_step)
        yield from self.objective.follows()
