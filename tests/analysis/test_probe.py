from __future__ import annotations

import math
import statistics

import pytest
import torch

from locallearn.analysis.block_features import PooledFeatures
from locallearn.analysis.probe import BlockProbe, ProbeFit, by_block, columns, linear_probe, probes
from locallearn.errors import InputError


def clouds(count, seed, *, spread=1.0, classes=3):
    """Points around the corners of a triangle, in features of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = corners[labels] + spread * torch.randn(count, 2, generator=generator)
    return points * torch.tensor([1000.0, 0.01]) + torch.tensor([5.0, -3.0]), labels


def slow_accuracy(features, labels, test_features, test_labels):
    """Newton's method in float64 on the penalised likelihood, with loops over samples for prediction."""
    x = features.double()
    mean, deviation = x.mean(0), x.std(0, unbiased=False)
    x = torch.cat([(x - mean) / deviation, torch.ones(len(x), 1).double()], 1)
    classes, width = 3, x.shape[1]
    weights = torch.zeros(classes * width, dtype=torch.float64)

    def loss(flat):
        matrix = flat.view(classes, width)
        likelihood = torch.nn.functional.cross_entropy(x @ matrix.T, labels, reduction="sum")
        return likelihood + 0.5 * (matrix[:, :-1] ** 2).sum()

    for _ in range(20):
        slope = torch.autograd.functional.jacobian(loss, weights)
        bend = torch.autograd.functional.hessian(loss, weights)
        weights = weights - torch.linalg.pinv(bend) @ slope
    matrix = weights.view(classes, width)
    right = 0
    for sample, label in zip(test_features.double(), test_labels, strict=True):
        row = torch.cat([(sample - mean) / deviation, torch.ones(1).double()])
        right += max(range(classes), key=lambda k: float(matrix[k] @ row)) == int(label)
    return 100 * right / len(test_labels)


@pytest.mark.parametrize("spread", [0.3, 0.7, 1.5])
def test_probes_agree_with_newtons_method(spread):
    data = [*clouds(120, 1, spread=spread), *clouds(400, 2, spread=spread)]
    fit = linear_probe(*data)
    assert fit.has_converged and fit.accuracy == pytest.approx(slow_accuracy(*data), abs=1e-6)
    assert 40 < fit.accuracy < 100


def test_what_is_separable_is_separated_and_noise_is_not():
    features, labels = clouds(300, 3, spread=0.01)
    assert linear_probe(features, labels, *clouds(100, 4, spread=0.01)).accuracy == 100
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(600, 4, generator=generator)
    drawn = torch.randint(4, (600,), generator=generator)
    chance = linear_probe(noise[:300], drawn[:300], noise[300:], drawn[300:]).accuracy
    assert abs(chance - 25) < 4 * math.sqrt(0.25 * 0.75 / 300) * 100


def test_the_scale_of_a_feature_is_of_no_account():
    features, labels = clouds(200, 6, spread=0.7)
    test_features, test_labels = clouds(300, 7, spread=0.7)
    scale = torch.tensor([1e-3, 1e4])
    one = linear_probe(features, labels, test_features, test_labels)
    assert linear_probe(features * scale, labels, test_features * scale, test_labels) == one


def test_draws_are_told_apart_by_block():
    test = PooledFeatures((clouds(60, 8)[0], torch.zeros(60, 4)), clouds(60, 8)[1])
    draws = []
    for seed in (9, 10):
        features, labels = clouds(50, seed)
        draws.append(PooledFeatures((features, torch.ones(50, 4)), labels))
    first, second = by_block(list(probes(iter(draws), test)), test)
    assert (first.block, second.block, first.width, second.width) == (1, 2, 2, 4)
    alone = [linear_probe(draw.blocks[0], draw.labels, test.blocks[0], test.labels).accuracy for draw in draws]
    assert first.accuracies == alone and len(second.fits) == 2
    assert first.deviation == pytest.approx(statistics.stdev(alone))
    told = columns((first, second))
    assert told["by_seed"] == [alone, second.accuracies] and told["accuracy"][0] == sum(alone) / 2
    assert told["deviation"] == [first.deviation, second.deviation] and told["features"] == [2, 4]


def test_the_deviation_is_that_of_a_sample():
    probe = BlockProbe(1, 8, (ProbeFit(50.0, True), ProbeFit(53.0, True), ProbeFit(56.0, True)))
    assert probe.mean == 53 and probe.deviation == pytest.approx(3)


def test_one_draw_has_no_deviation():
    probe = BlockProbe(3, 8, (ProbeFit(50.0, False),))
    assert probe.deviation is None and "deviation" not in columns([probe]) and columns([probe])["converged"] == [False]


def test_fits_that_end_by_their_limit_say_so(monkeypatch):
    monkeypatch.setattr("locallearn.analysis.probe.MOST_ITERATIONS", 1)
    assert not linear_probe(*clouds(100, 11), *clouds(10, 12)).has_converged


def test_a_single_class_is_refused():
    features, labels = clouds(20, 13)
    with pytest.raises(InputError, match="two classes, and its 20 are all of one: take more"):
        linear_probe(features, torch.zeros_like(labels), features, labels)
