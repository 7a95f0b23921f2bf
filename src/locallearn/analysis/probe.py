"""Linear probes: how well a linear classifier tells the classes apart by what each block hands on."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from locallearn.analysis.block_features import PooledFeatures
from locallearn.errors import InputError

MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class ProbeFit:
    """A probe that was trained once.

    Args:
        accuracy: Percent of the test samples.
        has_converged: Whether the fit ended by itself, not by its limit of iterations.
    """

    accuracy: float
    has_converged: bool


@dataclass(frozen=True)
class BlockProbe:
    """The probes of one block.

    Args:
        block: Its number, from 1.
        width: Features that the probes read.
        fits: A probe for each draw of training images.
    """

    block: int
    width: int
    fits: tuple[ProbeFit, ...]

    @property
    def accuracies(self) -> list[float]:
        """Percent, by draw."""
        return [fit.accuracy for fit in self.fits]

    @property
    def mean(self) -> float:
        """Mean accuracy in percent."""
        return statistics.fmean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the draws (n - 1), in percent; None of a single one."""
        return statistics.stdev(self.accuracies) if len(self.fits) > 1 else None


def linear_probe(features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor) -> ProbeFit:
    """Train a linear classifier on frozen features, and test it on others.

    Multinomial logistic regression (scikit-learn's, L-BFGS, C = 1, in float64) on features of mean 0 and deviation 1 in
    the training samples.

    Args:
        features: (N, D), to train on.
        labels: (N,), int64.
        test_features: (M, D).
        test_labels: (M,), int64.

    Returns:
        The accuracy on the M test samples.

    Raises:
        InputError: The training samples are all of one class.

    Source: Alain & Bengio, "Understanding intermediate layers using linear classifier probes", 2016.

    Departures:
        The probes are fitted to their optimum after training, with a weak L2 penalty; there they are trained by
        gradient descent beside the network.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(labels.unique()) < 2:
        raise InputError(f"A probe needs images of two classes, and its {len(labels)} are all of one: take more.")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_ITERATIONS))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(features.double().numpy(), labels.numpy())
    right = probe.predict(test_features.double().numpy()) == test_labels.numpy()
    return ProbeFit(
        100 * float(right.mean()), not any(issubclass(each.category, ConvergenceWarning) for each in caught)
    )


def probes(draws: Iterable[PooledFeatures], test: PooledFeatures) -> Iterator[ProbeFit]:
    """A probe of every block for each draw of training images.

    Args:
        draws: Features of the training images drawn, as `pooled_features` gives them; asked for one by one.
        test: Features of the test images.

    Yields:
        ProbeFit: Draw by draw, and of each draw block by block.

    Raises:
        InputError: See `linear_probe`.
    """
    for draw in draws:
        for train, tested in zip(draw.blocks, test.blocks, strict=True):
            yield linear_probe(train, draw.labels, tested, test.labels)


def by_block(fits: Sequence[ProbeFit], test: PooledFeatures) -> tuple[BlockProbe, ...]:
    """Probes in the order of the blocks.

    Args:
        fits: All that `probes` yields.
        test: What they were tested on.

    Returns:
        For each block its probes of all draws.
    """
    count = len(test.blocks)
    widths = [features.shape[1] for features in test.blocks]
    return tuple(BlockProbe(index + 1, width, tuple(fits[index::count])) for index, width in enumerate(widths))


def columns(found: Sequence[BlockProbe]) -> dict[str, list[Any]]:
    """Probes as plain data, an entry for each block.

    Args:
        found: In the order of the blocks.

    Returns:
        `accuracy` and, of several draws, its `deviation` in percent, `by_seed`, `features`, `converged`.
    """
    deviations = [each.deviation for each in found]
    return {
        "accuracy": [each.mean for each in found],
        **({} if None in deviations else {"deviation": deviations}),
        "by_seed": [each.accuracies for each in found],
        "features": [each.width for each in found],
        "converged": [all(fit.has_converged for fit in each.fits) for each in found],
    }
