"""What methods whose heads predict have in common: which head a block gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locallearn.abstract_method import Context, Method, Site

if TYPE_CHECKING:
    from torch import nn

    from locallearn.abstract_method import Head


@dataclass(frozen=True, kw_only=True)
class Predicting(Method):
    """A method with heads that predict what the task asks for."""

    def prediction_head(
        self, site: Site, num_outputs: int, context: Context, given: Head | None, own: Head
    ) -> nn.Module:
        """The head at a site: one that was given, else the task's, else the method's own.

        Args:
            site: What it reads.
            num_outputs: How many numbers it returns.
            context: Whose task may call for a head of its own.
            given: Builds the head in place of all others.
            own: Builds the method's own.

        Returns:
            A module from features to predictions.
        """
        if given is not None:
            return given(site, num_outputs)
        called_for = context.task.head(site.shape)
        return own(site, num_outputs) if called_for is None else called_for
