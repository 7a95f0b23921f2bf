"""Copies of later units through which a head sees features as those units would make them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from locallearn.errors import InputError
from locallearn.recomputation import recomputed


class AheadLayer(nn.Module):
    r"""A copy of later units that follows them, and a learnable bias beside it; either may be missing.

    .. math::
        y = E(x) + B(x), \qquad y = (2 - s)\,E(x) + s\,B(x), \qquad y = E(x) + b

    Source: Su et al., Momentum Auxiliary Network for Supervised Local Learning, ECCV 2024; JunhaoSu0/MAN at a6d20c5,
        networks/resnetInfoPro_MAN.py. The scale s: JunhaoSu0/MAN_PlusPlus. The vector b: the paper's equation 6.
    Departures: The paper says neither the shape, the place nor the start of b; here it has one number per channel, is
        added to the output and starts at zero.

    With `recompute` set, each copy keeps only the features and runs again in the backward pass.

    Args:
        averaged: E; its owner moves it towards its source, and freezes it if nothing else shall.
        learned: B, the bias of MAN: a copy of the same units that only learns.
        scaled: Whether the learnable scale s, which starts at 1, weighs the two.
        bias_of: Shape of the output without the batch, if b is added: `(C, H, W)`, `(T, D)` or `(D,)`.

    Raises:
        InputError: Copy and bias are both missing, or one of them where both are to be weighed.
    """

    def __init__(
        self,
        *,
        averaged: nn.Module | None = None,
        learned: nn.Module | None = None,
        scaled: bool = False,
        bias_of: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if averaged is None and learned is None:
            raise InputError("A layer that looks ahead needs a copy of later units, a bias, or both.")
        if scaled and (averaged is None or learned is None):
            raise InputError("A scale weighs a copy and a bias; give both.")
        self.recompute = False
        self.averaged = averaged
        self.learned = learned
        self.scale = nn.Parameter(torch.ones(())) if scaled else None
        self.vector = None if bias_of is None else nn.Parameter(torch.zeros(_per_channel(bias_of)))

    def forward(self, features: Tensor) -> Tensor:
        """What the later units would make of the features.

        Args:
            features: `(N, ...)`, as the copied units read them.

        Returns:
            As they return them.
        """
        output = self._sum(features)
        return output if self.vector is None else output + self.vector

    def _sum(self, features: Tensor) -> Tensor:
        if self.averaged is None:
            assert self.learned is not None
            return self._branch(self.learned, features)
        if self.learned is None:
            return self._branch(self.averaged, features)
        averaged, learned = self._branch(self.averaged, features), self._branch(self.learned, features)
        return averaged + learned if self.scale is None else (2 - self.scale) * averaged + self.scale * learned

    def _branch(self, copy: nn.Module, features: Tensor) -> Tensor:
        return recomputed(copy, features, [copy]) if self.recompute else copy(features)


def _per_channel(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[0], 1, 1) if len(shape) == 3 else (shape[-1],)
