"""Heads that first make features small, so that many of them can run together."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from typing_extensions import override


class ReducingHead(nn.Module, ABC):
    """A head in two parts: a reduction without parameters, and everything else.

    Heads of one class that read features of one shape and have parameters and buffers of the same names and shapes
    compute the same function but for these values.
    """

    @abstractmethod
    def reduced(self, features: Tensor) -> Tensor:
        """The features as the first parameters see them.

        Args:
            features: `(N, ...)`.

        Returns:
            `(N, ...)`, smaller.
        """

    @abstractmethod
    def scored(self, reduced: Tensor) -> Tensor:
        """The head's output from what `reduced` returned; made of functions that `torch.func.vmap` knows.

        Args:
            reduced: `(N, ...)`.

        Returns:
            `(N, num_outputs)`.
        """

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Both parts.

        Args:
            features: `(N, ...)`.

        Returns:
            `(N, num_outputs)`.
        """
        return self.scored(self.reduced(features))
