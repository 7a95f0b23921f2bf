"""CKA of all samples at once, in the memory of a batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from locallearn.analysis.block_features import block_outputs
from locallearn.analysis.cka import FEWEST, Similarity, inner_products, similarity_of
from locallearn.errors import InputError
from locallearn.local_model import LocalModel
from locallearn.training.evaluation import evaluating


class ExactCKA:
    r"""CKA between all pairs of two lists of features, gathered tile by tile of their matrices of inner products.

    With :math:`\tilde K` and :math:`\tilde L` the matrices with zeros on their diagonals, of n samples,

    .. math::
        \mathrm{HSIC}_1 = \frac{1}{n (n - 3)} \Bigl( \operatorname{tr} \tilde K \tilde L
        + \frac{1^\top \tilde K 1 \, 1^\top \tilde L 1}{(n - 1) (n - 2)}
        - \frac{2}{n - 2} 1^\top \tilde K \tilde L 1 \Bigr),

    of which the trace is a sum over tiles, and all else needs the sums of rows alone.

    Args:
        samples: How many there are in all, at least 4.

    Raises:
        InputError: There are fewer.

    Source: Song et al., "Feature selection via dependence maximization", JMLR 2012 (HSIC_1); Kornblith et al.,
        "Similarity of neural network representations revisited", ICML 2019 (linear CKA).

    Departures:
        The first sample is taken from all features, which changes the result by nothing but rounding.
    """

    def __init__(self, samples: int) -> None:
        if samples < FEWEST:
            raise InputError(f"The unbiased estimator needs {FEWEST} samples at least, not {samples}.")
        self._samples = samples
        self._cross: Tensor | float = 0.0
        self._sides = (_Side(samples), _Side(samples))

    def add(self, first: slice, second: slice, rows: Iterable[Tensor], columns: Iterable[Tensor]) -> None:
        """Take in one tile; every pair of parts must come once, a part with itself first of all.

        Args:
            first: Which samples the features begin with.
            second: Which samples follow; the same slice if there are only these.
            rows: Features (n, ...) of the first part, followed by those of the second, if it is another.
            columns: Other features of the same samples, likewise.
        """
        own, other = self._sides
        others = list(other.tiles(first, second, columns))
        self._cross = self._cross + torch.stack(
            [torch.stack([tile @ each for each in others]) for tile in own.tiles(first, second, rows)]
        )

    def value(self) -> Tensor:
        """CKA of all samples, once all tiles were taken in.

        Returns:
            (rows, columns), float64, on the CPU, from -1 to 1; NaN where features are the same for all samples.
        """
        own, other = self._sides
        assert isinstance(self._cross, Tensor)
        cross = self._unbiased(self._cross, own.sums[:, None], other.sums[None])
        norms = [self._unbiased(side.squares, side.sums, side.sums).sqrt() for side in self._sides]
        return (cross / (norms[0][:, None] * norms[1])).cpu()

    def _unbiased(self, trace: Tensor, one: Tensor, other: Tensor) -> Tensor:
        n = self._samples
        totals = one.sum(-1) * other.sum(-1) / ((n - 1) * (n - 2))
        return (trace + totals - 2 * (one * other).sum(-1) / (n - 2)) / (n * (n - 3))


class _Side:
    """Sums of one of the two lists: `squares` (blocks,) of all entries, `sums` (blocks, n) of all rows."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._origins: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._sums: list[Tensor] = []

    @property
    def squares(self) -> Tensor:
        return torch.stack(self._squares)

    @property
    def sums(self) -> Tensor:
        return torch.stack(self._sums)

    def tiles(self, first: slice, second: slice, features: Iterable[Tensor]) -> Iterable[Tensor]:
        """Each block's tile, flat, so that products of two are their share of the trace: double off the diagonal."""
        alone = first == second
        for block, each in enumerate(features):
            flat = each.flatten(1)
            if block == len(self._origins):
                self._origins.append(flat[0].clone())
            flat = flat - self._origins[block]
            size = first.stop - first.start
            tile = inner_products(flat, flat) if alone else inner_products(flat[:size], flat[size:])
            if alone:
                tile.fill_diagonal_(0)
            if block == len(self._sums):
                self._sums.append(torch.zeros(self._samples, dtype=tile.dtype, device=tile.device))
                self._squares.append(torch.zeros((), dtype=tile.dtype, device=tile.device))
            self._sums[block][first] += tile.sum(1)
            if not alone:
                self._sums[block][second] += tile.sum(0)
                tile *= 2**0.5
            self._squares[block] += tile.square().sum()
            yield tile.flatten()


def exact_similarity(
    reference: LocalModel, model: LocalModel, parts: Sequence[Tensor], *, piece: Callable[[], None] = lambda: None
) -> Similarity:
    """CKA between all blocks of two networks over all images, each compared with every other.

    Both networks see every pair of parts, which costs as much as one pass less than there are parts. Alive at a time
    are features of one block of two parts, and of the reference's blocks m^2 numbers each, with parts of m images.

    Args:
        reference: See `cka.similarity`.
        model: See `cka.similarity`.
        parts: All images, (m, C, H, W) each.
        piece: Called after every pair of parts.

    Returns:
        The similarities.

    Raises:
        InputError: There are fewer than 4 images.

    Source: See `ExactCKA`.
    """
    ends = list(itertools.accumulate(map(len, parts), initial=0))
    places = [slice(start, end) for start, end in itertools.pairwise(ends)]
    gathered = ExactCKA(ends[-1])
    with evaluating(reference), evaluating(model):
        for one, other in itertools.combinations_with_replacement(range(len(parts)), 2):
            images = parts[one] if one == other else torch.cat([parts[one], parts[other]])
            gathered.add(places[one], places[other], block_outputs(model, images), block_outputs(reference, images))
            piece()
    return similarity_of(gathered.value())
