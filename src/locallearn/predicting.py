"""What methods whose heads predict have in common: which head a block gets, and how it reads sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from locallearn.abstract_method import Context, Method, Site

if TYPE_CHECKING:
    from torch import nn

    from locallearn.abstract_method import Head


@dataclass(frozen=True, kw_only=True)
class Predicting(Method):
    """A method with heads that predict what the task asks for.

    Args:
        tokens: What a head that predicts once per sample reads of a sequence of tokens: the `"mean"` of all, or the
            `"class"` token, which is the first.
    """

    tokens: Literal["mean", "class"] = "mean"

    def prediction_head(
        self, site: Site, num_outputs: int, context: Context, given: Head | None, own: Head
    ) -> nn.Module:
        """The head at a site: one that was given, else the task's, else the method's own.

        Args:
            site: What it reads.
            num_outputs: How many numbers it returns.
            context: Whose task may call for a head of its own.
            given: Builds the head in place of all others.
            own: Builds the method's own, on maps and vectors.

        Returns:
            A module from features to predictions.
        """
        if given is not None:
            return given(site, num_outputs)
        called_for = context.task.head(site.shape)
        return self.sample_head(site, num_outputs, own) if called_for is None else called_for

    def sample_head(self, site: Site, num_outputs: int, own: Head) -> nn.Module:
        """A head that predicts once per sample; it gets a vector of a sequence.

        Args:
            site: What it reads.
            num_outputs: How many numbers it returns.
            own: Builds it, on maps and vectors.

        Returns:
            A module from features to `(N, num_outputs)`.
        """
        from locallearn.auxiliary.tokens import on_tokens

        if len(site.shape) != 2:
            return own(site, num_outputs)
        return on_tokens(own(replace(site, shape=site.shape[1:]), num_outputs), self.tokens)
