from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.analysis.cka import MinibatchCKA, Similarity, similarity, u_centered_gram
from locallearn.errors import InputError
from locallearn.planning.bytes_alive import BytesAlive
from small_networks import stack


def plain_hsic(x, y):
    """HSIC_1 by loops, as Song et al. write it."""
    n = len(x)
    k, j = (
        [[0.0 if a == b else sum(p * q for p, q in zip(f[a], f[b], strict=True)) for b in range(n)] for a in range(n)]
        for f in (x.flatten(1).tolist(), y.flatten(1).tolist())
    )
    trace = sum(k[a][b] * j[b][a] for a in range(n) for b in range(n))
    sums = sum(map(sum, k)) * sum(map(sum, j)) / ((n - 1) * (n - 2))
    middle = sum(sum(k[b][a] for b in range(n)) * sum(j[a]) for a in range(n))
    return (trace + sums - 2 * middle / (n - 2)) / (n * (n - 3))


def hsic_of_all_quadruples(x, y):
    """The statistic that HSIC_1 averages, over all ordered choices of four different samples."""
    k, j = x.flatten(1) @ x.flatten(1).T, y.flatten(1) @ y.flatten(1).T
    drawn = list(itertools.permutations(range(len(x)), 4))
    return sum(float(k[a, b] * (j[a, b] + j[c, d] - 2 * j[a, c])) for a, b, c, d in drawn) / len(drawn)


def hsic_by_features(x, y):
    """HSIC_1 by products of features, without any matrix of samples by samples."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    n = len(x)
    own = (x * x).sum(1), (y * y).sum(1)
    rows = x @ x.sum(0) - own[0], y @ y.sum(0) - own[1]
    trace = (x.T @ y).square().sum() - own[0] @ own[1]
    total = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
    return float((trace + total - 2 * (rows[0] @ rows[1]) / (n - 2)) / (n * (n - 3)))


def cka_by(hsic, x, y):
    return hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))


def model_of(network, num_blocks=2):
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8), num_blocks=num_blocks)
    return ll.LocalModel(blocks, ll.Backprop(), ll.Classification(3)).eval()


def cka(x, y, batch_size=None):
    gathered = MinibatchCKA()
    for one, other in zip(x.split(batch_size or len(x)), y.split(batch_size or len(y)), strict=True):
        gathered.add([one], [other])
    return gathered.value().item()


def related(n, seed, dtype=torch.float64):
    """Two features of the same samples that have something in common, and a mean far from 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, 2, 2, generator=generator, dtype=torch.float64)
    y = x.flatten(1)[:, :5] ** 2 + torch.randn(n, 5, generator=generator, dtype=torch.float64) + x.flatten(1)[:, 5:10]
    return (x + 2).to(dtype), (y - 1).to(dtype)


@pytest.mark.parametrize("n", [4, 5, 12])
def test_grams_give_the_unbiased_estimate(n):
    x, y = related(n, n)
    own = float((u_centered_gram(x) * u_centered_gram(y)).sum() / (n * (n - 3)))
    assert own == pytest.approx(plain_hsic(x, y), abs=1e-6)
    if n < 12:
        assert own == pytest.approx(hsic_of_all_quadruples(x, y), abs=1e-6)
    assert own == pytest.approx(hsic_by_features(x, y), abs=1e-6)


def test_wide_features_are_multiplied_in_pieces():
    wide = torch.randn(5, 4099, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wide[:, -3:] *= 1000
    _, y = related(5, 5)
    own = float((u_centered_gram(wide) * u_centered_gram(y)).sum() / 10)
    assert own == pytest.approx(plain_hsic(wide, y), rel=1e-9)
    assert abs(own - plain_hsic(wide[:, -3:], y)) > 1e-6 * abs(own)
    assert abs(own - plain_hsic(wide[:, :4096], y)) > 1e-6 * abs(own)


def test_cka_agrees_with_loops():
    x, y = related(20, 0)
    assert 0.1 < cka(x, y) < 0.9
    assert cka(x, y) == pytest.approx(cka_by(plain_hsic, x, y), abs=1e-6)
    assert cka(x.float(), y.float()) == pytest.approx(cka_by(plain_hsic, x, y), abs=1e-6)


def test_batches_are_averaged_by_their_number_of_samples():
    x, y = related(27, 1)

    def gathered(one, other):
        pairs = zip(one.split(10), other.split(10), strict=True)
        return sum(len(a) * plain_hsic(a, b) for a, b in pairs)

    assert cka(x, y, 10) == pytest.approx(cka_by(gathered, x, y), abs=1e-6)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_turning_and_scaling_features_changes_nothing(batch_size):
    x, y = related(64, 2)
    plain = cka(x, y, batch_size)
    turn = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q
    assert cka(x.flatten(1) @ turn, y, batch_size) == pytest.approx(plain, abs=1e-10)
    assert cka(1e3 * x, 1e-3 * y, batch_size) == pytest.approx(plain, abs=1e-10)
    assert cka(x + torch.randn(3, 2, 2), y, batch_size) == pytest.approx(plain, abs=1e-10)
    stretched = x.flatten(1) * torch.linspace(0.1, 3, 12) ** 3
    assert abs(cka(stretched, y, batch_size) - plain) > 1e-2


@pytest.mark.parametrize("batch_size", [None, 16])
def test_identical_features_are_1_alike(batch_size):
    x, y = related(64, 3)
    assert cka(x, x, batch_size) == pytest.approx(1, abs=1e-12)
    assert cka(y, -2 * y, batch_size) == pytest.approx(1, abs=1e-12)


def test_independent_features_are_0_alike_without_bias():
    values = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        x, y = (torch.randn(32, 64, generator=generator) for _ in range(2))
        values.append(cka(x, y, 8))
    error = torch.tensor(values).std().item() / math.sqrt(len(values))
    assert abs(sum(values) / len(values)) < 3 * error < 0.06


def test_minibatches_give_the_full_batchs_value_on_10000_samples():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10_000, 3, 8, 8, generator=generator)
    torch.manual_seed(0)
    one, other = (model_of(stack([8, 12], strides=[2, 1], dtype=torch.float32)) for _ in range(2))
    found = similarity(one, other, [(chunk, None) for chunk in images.split(1000)])
    features = [model.features(images) for model in (one, other)]
    for (row, own), (column, reference) in itertools.product(enumerate(features[1]), enumerate(features[0])):
        whole = cka_by(hsic_by_features, own, reference)
        assert found.matrix[row][column] == pytest.approx(whole, abs=1e-3)


def test_rows_are_the_networks_and_columns_the_references():
    torch.manual_seed(1)
    reference, model = model_of(stack([4, 5, 6], dtype=torch.float32), 3), model_of(stack([4, 5], dtype=torch.float32))
    reference.train()
    images = torch.randn(12, 3, 8, 8)
    found = similarity(reference, model, [(images, None)])
    assert reference.training and not model.training
    reference.eval()
    own, others = model.features(images), reference.features(images)
    for row, column in itertools.product(range(2), range(3)):
        assert found.matrix[row][column] == pytest.approx(cka_by(plain_hsic, own[row], others[column]), abs=1e-6)


def test_one_blocks_features_are_held_at_a_time():
    model = model_of(stack([16] * 8, dtype=torch.float32), 8)
    images = torch.randn(16, 3, 8, 8)
    with BytesAlive(images) as meter:
        similarity(model, model, [(images, None)])
    features, triangles = 16 * 16 * 8 * 8 * 4, 8 * 16 * 15 // 2 * 8
    # A unit's input, its output and what lies between; all eight blocks' outputs would be 8 features.
    assert features < meter.peak - images.nbytes - triangles < 4 * features


def test_a_last_batch_too_small_to_estimate_from_is_left_out():
    model = model_of(stack([4, 5], dtype=torch.float32))
    images = torch.randn(13, 3, 8, 8)
    batches = [(chunk, None) for chunk in images.split(10)]
    assert similarity(model, model, batches) == similarity(model, model, batches[:1])
    assert similarity(model, model, [(images[:4], None)]).curve == pytest.approx((1, 1))
    with pytest.raises(InputError, match="no batch of 4 samples or more"):
        similarity(model, model, batches[1:])
    with pytest.raises(InputError, match="batches of 4 samples at least, not 3"):
        MinibatchCKA().add([torch.zeros(3, 2)], [torch.zeros(3, 2)])


def test_features_that_say_the_same_of_all_images_have_no_value():
    network = stack([4, 5], dtype=torch.float32)
    nn.init.zeros_(network.norm1.weight)
    nn.init.zeros_(network.linear.weight)
    model = model_of(network)
    found = similarity(model, model, [(torch.randn(8, 3, 8, 8), None)])
    assert found.curve == (pytest.approx(1), None) and found.mean == pytest.approx(1)
    assert found.matrix[0][1] is found.matrix[1][0] is None


def test_equal_numbers_of_blocks_are_paired():
    found = Similarity(((0.5, 0.9), (0.75, None)))
    assert found.partners == (1, 2) and found.curve == (0.5, None) and found.mean == 0.5
    assert found.as_dict()["pairing"] == "same block"


def test_other_blocks_are_held_against_the_most_similar():
    found = Similarity(((0.5, 0.9, 0.1), (0.75, None, 0.25), (None, None, None), (-0.5, -0.25, -0.75)))
    assert found.partners == (2, 1, None, 2) and found.curve == (0.9, 0.75, None, -0.25)
    assert found.mean == pytest.approx((0.9 + 0.75 - 0.25) / 3)
    assert found.as_dict()["pairing"] == "most similar block of the reference"
    assert Similarity(((None, None),)).mean is None
