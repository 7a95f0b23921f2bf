"""Centered kernel alignment (CKA) between the blocks of two networks, from minibatches, without bias."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from locallearn.analysis.block_features import block_outputs
from locallearn.errors import InputError
from locallearn.local_model import LocalModel
from locallearn.training.evaluation import evaluating

FEWEST = 4
"""Samples that the unbiased estimator needs."""
_COLUMNS = 4096


def u_centered_gram(features: Tensor) -> Tensor:
    """The linear kernel between samples, centered so that inner products of two such matrices estimate HSIC unbiased.

    Its rows and columns sum to 0 beside a diagonal of zeros; the sum of the products of two such matrices' entries over
    n (n - 3) is HSIC_1.

    Args:
        features: (n, ...), at least 4 samples; flattened.

    Returns:
        (n, n), float64.

    Source: Song et al., "Feature selection via dependence maximization", JMLR 2012 (HSIC_1); in this form, as
        U-centered matrices, Szekely & Rizzo, "Partial distance correlation with methods for dissimilarities", Annals of
        Statistics 2014.

    Departures:
        The batch's first sample and then its mean are taken from the features, which changes the result by nothing but
        rounding; features that are the same for all samples vanish exactly.
    """
    flat = features.flatten(1)
    count = len(flat)
    gram = torch.zeros(count, count, dtype=torch.float64, device=_exact(flat.device))
    for part in flat.split(_COLUMNS, 1):
        centered = part - part[:1]
        centered -= centered.mean(0)
        gram += (centered @ centered.T).to(gram.device)
    rows = gram.fill_diagonal_(0).sum(1) / (count - 2)
    gram += rows.sum() / (count - 1) - rows[:, None] - rows[None, :]
    return gram.fill_diagonal_(0)


def inner_products(one: Tensor, other: Tensor) -> Tensor:
    """Inner products of samples, added up in float64 over pieces of their features.

    Args:
        one: (n, d).
        other: (m, d).

    Returns:
        (n, m), float64; on the CPU where the device has no float64.
    """
    found = torch.zeros(len(one), len(other), dtype=torch.float64, device=_exact(one.device))
    for a, b in zip(one.split(_COLUMNS, 1), other.split(_COLUMNS, 1), strict=True):
        found += (a @ b.T).to(found.device)
    return found


class MinibatchCKA:
    """CKA between all pairs of two lists of features of the same samples, gathered batch by batch.

    Batches must be drawn at random: of samples sorted by class each holds too few classes.

    Source: Kornblith et al., "Similarity of neural network representations revisited", ICML 2019 (linear CKA);
        Nguyen, Raghu & Kornblith, "Do wide and deep networks learn the same things?", ICLR 2021
        (minibatches with HSIC_1, several passes).

    Departures:
        Batches count by their number of samples, so that a smaller last one does not count as much as the others.
    """

    def __init__(self) -> None:
        self._cross: Tensor | float = 0.0
        self._rows: Tensor | float = 0.0
        self._columns: Tensor | float = 0.0

    def add(self, rows: Iterable[Tensor], columns: Iterable[Tensor]) -> None:
        """Take in one batch of n samples; features are asked for one at a time and not kept.

        Args:
            rows: Features (n, ...), the same number of them for every batch.
            columns: Other features of the same samples, likewise.

        Raises:
            InputError: There are fewer than 4 samples.
        """
        others = [_above_diagonal(each) for each in columns]
        cross, own = [], []
        for each in map(_above_diagonal, rows):
            cross.append(torch.stack([each @ other for other in others]))
            own.append(each @ each)
        self._cross = self._cross + torch.stack(cross)
        self._rows = self._rows + torch.stack(own)
        self._columns = self._columns + torch.stack([other @ other for other in others])

    def value(self) -> Tensor:
        """CKA of what was taken in so far.

        Returns:
            (rows, columns), float64, on the CPU, from -1 to 1; NaN where features are the same for all samples of every
            batch.

        Raises:
            InputError: Nothing was taken in.
        """
        if not (
            isinstance(self._cross, Tensor) and isinstance(self._rows, Tensor) and isinstance(self._columns, Tensor)
        ):
            raise InputError(f"There was no batch of {FEWEST} samples or more to compare features on.")
        return (self._cross / (self._rows.sqrt()[:, None] * self._columns.sqrt())).cpu()


def _above_diagonal(features: Tensor) -> Tensor:
    # The centered Gram matrix's entries above its diagonal; their products add up to HSIC_1 times half the samples.
    count = len(features)
    if count < FEWEST:
        raise InputError(f"The unbiased estimator needs batches of {FEWEST} samples at least, not {count}.")
    gram = u_centered_gram(features)
    above = torch.triu_indices(count, count, 1, device=gram.device)
    return gram[above[0], above[1]] / (count - 3) ** 0.5


@dataclass(frozen=True)
class Similarity:
    """How alike the blocks of two networks are.

    Args:
        matrix: For each block of the network its CKA with each of the reference's; None where one of the two says the
            same of all images.
    """

    matrix: tuple[tuple[float | None, ...], ...]

    @property
    def is_paired(self) -> bool:
        """Whether both have as many blocks, so that each has its counterpart."""
        return len(self.matrix) == len(self.matrix[0])

    @property
    def partners(self) -> tuple[int | None, ...]:
        """The reference's block, from 1, that each is held against: its counterpart, else the most similar one."""
        if self.is_paired:
            return tuple(range(1, len(self.matrix) + 1))
        return tuple(_most_similar(row) for row in self.matrix)

    @property
    def curve(self) -> tuple[float | None, ...]:
        """The CKA of each block with its partner."""
        pairs = zip(self.matrix, self.partners, strict=True)
        return tuple(None if partner is None else row[partner - 1] for row, partner in pairs)

    @property
    def mean(self) -> float | None:
        """The curve's mean over the blocks that have a value."""
        known = [value for value in self.curve if value is not None]
        return statistics.fmean(known) if known else None

    def as_dict(self) -> dict[str, Any]:
        """Plain data.

        Returns:
            `matrix`, `curve`, `partners`, `pairing` and `mean`.
        """
        pairing = "same block" if self.is_paired else "most similar block of the reference"
        return {
            "mean": self.mean,
            "pairing": pairing,
            "partners": list(self.partners),
            "curve": list(self.curve),
            "matrix": [list(row) for row in self.matrix],
        }


def similarity(reference: LocalModel, model: LocalModel, batches: Iterable[tuple[Tensor, Any]]) -> Similarity:
    """CKA between all blocks of two networks on the same images, in one pass over both.

    Features of one block of one network are alive at a time; of the reference's blocks n (n - 1) / 2 numbers each.

    Args:
        reference: What the other is held against, such as the network that back-propagation trained.
        model: The other network, on the same device; both are put into evaluation mode meanwhile.
        batches: Inputs (n, C, H, W) in random order and targets, which are not looked at; a last batch of fewer than 4
            images is left out.

    Returns:
        The similarities.

    Raises:
        InputError: There is no batch of 4 images.

    Source: See `MinibatchCKA`.
    """
    gathered = MinibatchCKA()
    with evaluating(reference), evaluating(model):
        for inputs, _ in batches:
            if len(inputs) >= FEWEST:
                gathered.add(block_outputs(model, inputs), block_outputs(reference, inputs))
    return similarity_of(gathered.value())


def similarity_of(matrix: Tensor) -> Similarity:
    """A matrix of CKA as plain numbers.

    Args:
        matrix: (blocks of the network, blocks of the reference), NaN where it is undefined.

    Returns:
        The similarities.
    """
    return Similarity(tuple(tuple(None if math.isnan(v) else v for v in row) for row in matrix.tolist()))


def _exact(device: torch.device) -> torch.device:
    # Apple's GPUs have no float64.
    return torch.device("cpu") if device.type == "mps" else device


def _most_similar(row: tuple[float | None, ...]) -> int | None:
    known = [(value, index) for index, value in enumerate(row, 1) if value is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None
