"""Heads that are equal but for their weights, run together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from typing_extensions import override

from locallearn.auxiliary.reducing import ReducingHead
from locallearn.engine.gradient_flow import outside_autocast
from locallearn.objective import Batch, LocalObjective, Part, Term, WeightedTerms


def equal_runs(objectives: Sequence[LocalObjective | None], shapes: Sequence[tuple[int, ...]]) -> list[range]:
    """Neighbouring objectives that can be scored together.

    Args:
        objectives: One for each window, in order; None for those to be left alone.
        shapes: What each reads, without the batch.

    Returns:
        Ranges of at least two indices; objectives with other heads than `ReducingHead`, or heads that count
        batches, are in none.
    """
    keys = [_key(objective, shape) for objective, shape in zip(objectives, shapes, strict=True)]
    runs, start = [], 0
    for key, members in groupby(keys):
        stop = start + len(list(members))
        if key is not None and stop - start > 1:
            runs.append(range(start, stop))
        start = stop
    return runs


def scored_together(objectives: Sequence[LocalObjective], features: Sequence[Tensor], batch: Batch) -> list[list[Part]]:
    """The parts of equal objectives, each head's operations made once for all of them.

    Args:
        objectives: One of `equal_runs`.
        features: What each reads, `(N, ...)`.
        batch: Inputs, targets and images.

    Returns:
        The parts of each objective, with one graph for all.
    """
    terms = [[cast(Term, term) for term in cast(WeightedTerms, objective).terms] for objective in objectives]
    parts: list[list[Part]] = [[] for _ in objectives]
    for alike in zip(*terms, strict=True):
        outputs = _outputs([cast(ReducingHead, term.auxiliary) for term in alike], features)
        for found, term, output in zip(parts, alike, outputs, strict=True):
            found.append(term.part(output, batch))
    return parts


def _key(objective: LocalObjective | None, shape: tuple[int, ...]) -> object:
    """Equal for objectives that compute the same but for the values of parameters and buffers; None for others."""
    if type(objective) is not WeightedTerms:  # A subclass may do more than its terms.
        return None
    terms = [cast(Term, term) for term in objective.terms]
    if not all(type(term) is Term and _groups(term.auxiliary) for term in terms):
        return None
    heads = [(type(term.auxiliary), repr(term.auxiliary), *_shapes(term.auxiliary)) for term in terms]
    return shape, tuple(heads)


def _groups(module: nn.Module) -> bool:
    """Whether a head can run with others: counters of batches would have to be moved on for each."""
    counts = any("num_batches_tracked" in name for name, _ in module.named_buffers())
    return isinstance(module, ReducingHead) and not counts


def _shapes(module: nn.Module) -> list[object]:
    return [(name, value.shape, value.dtype) for name, value in module.state_dict().items()]


def _outputs(heads: Sequence[ReducingHead], features: Sequence[Tensor]) -> tuple[Tensor, ...]:
    reduced = torch.stack([head.reduced(values) for head, values in zip(heads, features, strict=True)])
    parameters = _stacked([dict(head.named_parameters()) for head in heads])
    owned = [dict(head.named_buffers()) for head in heads]
    buffers = _stacked(owned)
    module = _Scored(heads[0])

    def output(parameters: dict[str, Tensor], buffers: dict[str, Tensor], reduced: Tensor) -> Tensor:
        return functional_call(module, (parameters, buffers), (reduced,))

    # BatchNorm under vmap takes no half-precision input beside single-precision weights.
    exact = reduced.to(next(heads[0].parameters()).dtype)
    with outside_autocast(exact):
        outputs = vmap(output, randomness="different")(parameters, buffers, exact)
    with torch.no_grad():
        for index, values in enumerate(owned):
            for name, value in values.items():
                value.copy_(buffers[f"head.{name}"][index])
    return outputs.unbind()


def _stacked(named: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"head.{name}": torch.stack([values[name] for values in named]) for name in named[0]}


class _Scored(nn.Module):
    """`ReducingHead.scored` as a module, which `functional_call` wants."""

    def __init__(self, head: ReducingHead) -> None:
        super().__init__()
        self.head = head

    @override
    def forward(self, reduced: Tensor) -> Any:
        return self.head.scored(reduced)
