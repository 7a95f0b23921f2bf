"""The hidden heads as early exits: how right a prediction after block k is, and what it costs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from locallearn.objective import LocalObjective
from locallearn.partitioning.block import State, activation
from locallearn.training.evaluation import evaluating

if TYPE_CHECKING:
    from locallearn.abstract_method import Window
    from locallearn.local_model import LocalModel
    from locallearn.objective import Batch


@dataclass(frozen=True)
class EarlyExit:
    """One place where inference can end: after a block, with what a head says there.

    Args:
        block: Counted from 1.
        start: First block of the window whose head it is, counted from 1; None where no window ends.
        role: The window's, see `Window`; None where no window ends.
        accuracy: Percent right; None where nothing predicts.
        macs: Multiply-accumulates per image of matrix products and convolutions, forward: of all blocks up to this one
            and of its head; None where nothing predicts.
        ensemble_accuracy: Percent right of the ensemble of softmax outputs of the heads up to here; None where nothing
            predicts, and for windows whose head is not in it.
        logits_ensemble_accuracy: The same of the ensemble of logits.
        ensemble_macs: What the ensemble costs: the blocks up to this one and all of its heads.
    """

    block: int
    start: int | None = None
    role: str | None = None
    accuracy: float | None = None
    macs: int | None = None
    ensemble_accuracy: float | None = None
    logits_ensemble_accuracy: float | None = None
    ensemble_macs: int | None = None


def in_ensemble(exits: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One head for each block that has any: of several the one that is in the ensemble.

    Args:
        exits: Fields of `EarlyExit`.

    Returns:
        Those that have costs of an ensemble.
    """
    return [place for place in exits if place["ensemble_macs"]]


def early_exits(model: LocalModel, batches: Iterable[tuple[Tensor, Tensor]]) -> list[EarlyExit]:
    r"""What every head predicts, in evaluation mode; nothing of the model changes.

    The ensemble after block k is, of the heads that predict up to there,

    .. math::
        p_k = \sum_{i=0}^{k} \frac{2^i}{\sum_j 2^j} \, \mathrm{softmax}(a_i(h_i))

    and the ensemble of logits the same without the softmax.

    Args:
        model: With trained auxiliary networks, of a task of classification.
        batches: Test images and their labels.

    Returns:
        For each block one exit for each window that ends there, or one without a head.

    Source: Belilovsky, Eickenberg, Oyallon. Decoupled Greedy Learning of CNNs. ICML 2020. Authors' code: eugenium/DGL
        at a9c8786, `imagenet_dgl/imagenet_dgl.py`, `validate` (softmax outputs), and
        `buffer_experiments/cifar_buffer.py`, `test` (logits).
    Departures: The weights count the heads that predict, which are all heads in the authors' code. Where several
        windows end at a block, the one that weighs most in training is in the ensemble (of equals the longest). The
        last exit is the network's own classifier.
    """
    heads = _predicting(model)
    votes = _votes(model.windows, sorted(heads))
    counts = torch.zeros(3, len(model.windows), dtype=torch.int64, device=next(model.parameters()).device)
    total = 0
    with evaluating(model):
        for inputs, targets in batches:
            predictions = _predictions(model, model.batch(inputs, targets), heads)
            counts += _right(predictions, votes, targets, len(model.windows))
            total += len(targets)
    percent = (100 * counts.cpu().double() / max(total, 1)).tolist()
    return [each for block in range(len(model.partition.blocks)) for each in _at(block, model, heads, votes, percent)]


def _at(
    block: int, model: LocalModel, heads: dict[int, tuple[int, int]], votes: Sequence[int], percent: list[list[float]]
) -> list[EarlyExit]:
    """The exits after one block."""
    found = []
    for index in (i for i, window in enumerate(model.windows) if window.stop == block + 1):
        place: dict[str, Any] = {"start": model.windows[index].start + 1, "role": model.windows[index].role}
        if index in heads:
            trunk, head = heads[index]
            place |= {"accuracy": percent[0][index], "macs": trunk + head}
        if index in votes:
            voters = votes[: votes.index(index) + 1]
            place |= {"ensemble_accuracy": percent[1][index], "logits_ensemble_accuracy": percent[2][index]}
            place["ensemble_macs"] = heads[index][0] + sum(heads[voter][1] for voter in voters)
        found.append(EarlyExit(block + 1, **place))
    return found or [EarlyExit(block + 1)]


def _votes(windows: Sequence[Window], predicting: Sequence[int]) -> list[int]:
    """The window that stands for each block in an ensemble."""
    chosen: dict[int, int] = {}
    for index in predicting:
        stop, rank = windows[index].stop, (windows[index].weight, -windows[index].start)
        if stop not in chosen or rank > (windows[chosen[stop]].weight, -windows[chosen[stop]].start):
            chosen[stop] = index
    return [chosen[stop] for stop in sorted(chosen)]


def _right(predictions: dict[int, Tensor], votes: Sequence[int], targets: Tensor, windows: int) -> Tensor:
    """How many images each head, each ensemble and each ensemble of logits has right: (3, windows)."""
    counts = torch.zeros(3, windows, dtype=torch.int64, device=targets.device)
    for index, logits in predictions.items():
        counts[0, index] = (logits.argmax(1) == targets).sum()
    sums: list[Any] = [0.0, 0.0]
    for index in votes:
        logits = predictions[index].to(torch.float32 if targets.device.type == "mps" else torch.float64)
        # Halving what came before weighs it by the powers of two, up to a factor that leaves the largest the largest.
        sums = [sums[0] / 2 + logits.softmax(1), sums[1] / 2 + logits]
        for row, ensemble in enumerate(sums, 1):
            counts[row, index] = (ensemble.argmax(1) == targets).sum()
    return counts


def _predictions(model: LocalModel, batch: Batch, windows: Collection[int]) -> dict[int, Tensor]:
    """The logits of windows, by their index."""
    found: dict[int, Tensor] = {}
    for index, features in _features(model, cast(Tensor, batch.inputs)):
        if index in windows:
            objective = cast(LocalObjective, model.objectives[index])
            parts = objective.parts(objective.prepare(features), batch)
            found[index] = next(part.logits for part in parts if part.logits is not None)
    return found


def _features(model: LocalModel, inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The windows in the order of their ends, with what their objectives read; blocks run when they are needed."""
    state: State = inputs
    for block, run in enumerate(model.partition.blocks):
        state = run(state)
        yield from ((i, activation(state)) for i, window in enumerate(model.windows) if window.stop == block + 1)


def _predicting(model: LocalModel) -> dict[int, tuple[int, int]]:
    """By their index the windows that predict, with the operations of the blocks up to their end and of their head."""
    image = next(model.parameters()).new_zeros(1, *model.partition.input_shape)
    batch = model.batch(image, model.task.blank_targets(image))
    found: dict[int, tuple[int, int]] = {}
    in_heads = 0
    with evaluating(model), _attention_in_products(), FlopCounterMode(display=False) as counter:
        for index, features in _features(model, image):
            before = counter.get_total_flops()
            head = _head_flops(cast(LocalObjective, model.objectives[index]), features, batch, counter)
            if head is not None:
                found[index] = ((before - in_heads) // 2, head // 2)
            in_heads += counter.get_total_flops() - before
    return found


def _head_flops(objective: LocalObjective, features: Tensor, batch: Batch, counter: FlopCounterMode) -> int | None:
    """Of what all parts read, and of the part that predicts alone; None if none does."""
    start = counter.get_total_flops()
    parts = objective.parts(objective.prepare(features), batch)
    common = before = counter.get_total_flops()
    for part in parts:
        if part.logits is not None:
            return common - start + counter.get_total_flops() - before
        before = counter.get_total_flops()
    return None


@contextmanager
def _attention_in_products() -> Iterator[None]:
    """Attention as matrix products: its fused forms are not counted in all versions of PyTorch."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
