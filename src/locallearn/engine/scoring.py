"""From a window's features to what it reports and the gradient that its blocks are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from locallearn.engine.gradient_flow import caught, outside_autocast, seed
from locallearn.engine.grouped_heads import scored_together
from locallearn.engine.lean_backward import Lean, lean_backward, lean_parts
from locallearn.errors import InputError
from locallearn.objective import Batch, LocalObjective, LocalOutput, Part

if TYPE_CHECKING:
    from locallearn.abstract_method import Window


@dataclass
class Score:
    """What becomes of one window's parts.

    Args:
        window: Its weight counts.
        scale: Factor of the gradients alone.
        keep_logits: Whether the report holds what the head predicts.
    """

    window: Window
    scale: float | Tensor
    keep_logits: bool
    loss: Tensor | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    gradient: list[Tensor] = field(default_factory=list)

    def factor(self, part: Part) -> Tensor:
        """Gradient of the window's scaled loss by a part's.

        Args:
            part: One summand.

        Returns:
            A scalar.
        """
        factor = part.weight * self.window.weight * self.scale
        if isinstance(factor, Tensor):
            return factor.to(part.loss)
        return part.loss.new_full((), factor)

    def note(self, part: Part) -> None:
        """Add a part, without its graph, to the report.

        Args:
            part: One summand.
        """
        self.terms[part.name] = part.loss.detach()
        summand = self.terms[part.name] * (part.weight * self.window.weight)
        self.loss = summand if self.loss is None else self.loss + summand
        self.logits = part.logits if self.keep_logits and part.logits is not None else self.logits

    def result(self) -> LocalOutput:
        """The report.

        Returns:
            What to report of the window.

        Raises:
            InputError: No part depends on the features.
        """
        if self.loss is None or not self.gradient:
            raise InputError(
                f"The objective of window {self.window} gives its features no gradient; it must yield at least one "
                "part that depends on them."
            )
        return LocalOutput(self.loss, self.terms, self.logits)


def back_propagated(
    objective: LocalObjective, features: Tensor, batch: Batch, score: Score, lean: Lean
) -> tuple[LocalOutput, list[Tensor]]:
    """Back-propagate an objective to its features, part by part.

    Args:
        objective: The window's.
        features: What it reads, `(N, ...)`.
        batch: Inputs, targets and images.
        score: Weights.
        lean: See `Execution`.

    Returns:
        What to report, and the gradient of the features in a list that its user empties.

    Raises:
        InputError: No part of the objective depends on the features.
    """
    leaf = caught(features, score.gradient)
    with lean_backward(lean):
        prepared = objective.prepare(leaf)
    stash: list[Tensor] = []
    entry = None if prepared is leaf else seed(prepared, stash)
    read = leaf if entry is None else prepared.detach().requires_grad_()
    del prepared
    for part in lean_parts(lean, objective, read, batch):
        with outside_autocast(leaf):
            torch.autograd.backward(part.loss, score.factor(part))
        score.note(part)
        del part
    if entry is not None and read.grad is not None:
        stash.append(read.grad)
        del read
        with outside_autocast(leaf):
            torch.autograd.backward(entry)
    return score.result(), score.gradient


def back_propagated_together(
    objectives: Sequence[LocalObjective], features: Sequence[Tensor], batch: Batch, scores: Sequence[Score], lean: Lean
) -> list[tuple[LocalOutput, list[Tensor]]]:
    """The same for objectives that are equal but for their weights, with one graph for all.

    Args:
        objectives: One of `equal_runs`.
        features: What each reads.
        batch: Inputs, targets and images.
        scores: Weights of each.
        lean: See `Execution`.

    Returns:
        Reports and gradients in the same order.

    Raises:
        InputError: See `back_propagated`.
    """
    leaves = [caught(values, score.gradient) for values, score in zip(features, scores, strict=True)]
    with lean_backward(lean):
        found = scored_together(objectives, leaves, batch)
    pairs = [(part, score) for parts, score in zip(found, scores, strict=True) for part in parts]
    with outside_autocast(leaves[0]):
        torch.autograd.backward([part.loss for part, _ in pairs], [score.factor(part) for part, score in pairs])
    for part, score in pairs:
        score.note(part)
    return [(score.result(), score.gradient) for score in scores]
