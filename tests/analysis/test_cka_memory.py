"""CKA of deep networks on many images: bytes alive, and the value of all images at once."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import locallearn as ll
from analysis.test_cka import hsic_by_features, model_of, related
from locallearn import datasets
from locallearn.analysis.block_features import block_outputs
from locallearn.analysis.cka import MinibatchCKA
from locallearn.analysis.exact_cka import ExactCKA
from locallearn.cli.similarity import Similarity
from locallearn.datasets.batches import normalize
from locallearn.planning.bytes_alive import BytesAlive
from small_networks import stack

BLOCKS = (54, 45, 25, 1)
TILE = 500
DATA = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


def peak_of_two_batches(build, shape):
    with torch.no_grad():
        one, other, gathered = build(), build(), MinibatchCKA()
        held = [tensor for model in (one, other) for tensor in (*model.parameters(), *model.buffers())]
        with BytesAlive(*held) as meter:
            for _ in range(2):
                images = torch.zeros(shape)
                gathered.add(block_outputs(one, images), block_outputs(other, images))
            gathered.value()
    return meter.peak


def resnet110():
    network = ll.networks.resnet110(num_classes=10)
    blocks = ll.partition(network, torch.zeros(2, 3, 32, 32), num_blocks=55)
    return ll.LocalModel(blocks, ll.Backprop(), ll.Classification(10)).eval()


def test_two_resnet110_are_compared_in_half_a_gibibyte():
    batch_size = Similarity.batch_size
    with FakeTensorMode(allow_non_fake_inputs=True):
        peak = peak_of_two_batches(resnet110, (batch_size, 3, 32, 32))
    kept = 55 * batch_size * (batch_size - 1) // 2 * 8
    assert batch_size == 1000 and kept < peak < 512 * 2**20


def test_exactly_too_they_are_compared_in_half_a_gibibyte_beside_the_images():
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        one, other = resnet110(), resnet110()
        parts = [torch.zeros(TILE, 3, 32, 32) for _ in range(2)]
        held = [tensor for model in (one, other) for tensor in (*model.parameters(), *model.buffers())]
        gathered, places = ExactCKA(2 * TILE), (slice(0, TILE), slice(TILE, 2 * TILE))
        with BytesAlive(*held, *parts) as meter:
            for first, second in ((0, 0), (0, 1)):
                images = torch.cat(parts) if second else parts[0]
                sides = (block_outputs(one, images), block_outputs(other, images))
                gathered.add(places[first], places[second], *sides)
            gathered.value()
    # Twenty parts are 10,000 images.
    assert Similarity.batch_size == 2 * TILE and meter.peak + 18 * parts[0].nbytes < 640 * 2**20


def test_bytes_counted_on_fake_tensors_are_those_of_real_ones():
    def build():
        return model_of(stack([8, 8, 8], dtype=torch.float32), 3)

    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = peak_of_two_batches(build, (16, 3, 8, 8))
    assert fake == peak_of_two_batches(build, (16, 3, 8, 8))


def normalized_by(model, images):
    """The model with the statistics of some images in its BatchNorm, as training would leave them."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def gram_of(features):
    """Inner products of all samples, the mean taken off."""
    flat = features.flatten(1)
    flat = flat - flat.mean(0)
    return sum((part @ part.T).double() for part in flat.split(2048, 1))


def hsic_of(one, other):
    """HSIC_1 of two Gram matrices in Song et al.'s three terms, without any centering of the matrices."""
    n = len(one)
    trace = (one * other).sum() - one.diagonal() @ other.diagonal()
    rows = one.sum(1) - one.diagonal(), other.sum(1) - other.diagonal()
    sums = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
    return (trace + sums - 2 * (rows[0] @ rows[1]) / (n - 2)) / (n * (n - 3))


def test_the_closed_form_is_that_of_products_of_features():
    x, y = related(40, 0)
    own = hsic_of(gram_of(x), gram_of(y)).item()
    assert own == pytest.approx(hsic_by_features(x, y), rel=1e-9)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="no CIFAR-10 beside the checkout")
def test_resnet110_on_10000_images_gives_the_full_batchs_value():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = datasets.load("cifar10", DATA)
    test = found.test.select(torch.randperm(10_000, generator=torch.Generator().manual_seed(0)))
    images = normalize(test.images.to(device), found.spec.mean, found.spec.std)
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(normalized_by(resnet110().to(device), images[:500]))
    kept = [features_of(model, images) for model in models]
    for block in BLOCKS:
        one, other = (gram_of(features[block]) for features in kept)
        whole = hsic_of(one, other) / (hsic_of(one, one) * hsic_of(other, other)).sqrt()
        near, exact = MinibatchCKA(), ExactCKA(10_000)
        for seed in range(Similarity.passes):
            order = torch.randperm(10_000, generator=torch.Generator().manual_seed(seed)).to(device)
            for part in order.split(Similarity.batch_size):
                near.add(*([features[block][part]] for features in kept))
        parts = [slice(start, start + TILE) for start in range(0, 10_000, TILE)]
        for first, second in itertools.combinations_with_replacement(parts, 2):
            both = [first] if first == second else [first, second]
            exact.add(first, second, *([torch.cat([own[block][part] for part in both])] for own in kept))
        values = whole.item(), exact.value().item(), near.value().item()
        print("block {}: {:.6f} of all images at once, {:.6f} by tiles, {:.6f} by minibatches".format(block, *values))
        assert values[1] == pytest.approx(values[0], abs=1e-5)
        assert values[2] == pytest.approx(values[0], abs=5e-3)


@torch.no_grad()
def features_of(model, images):
    """What some blocks say of all images."""
    found = {block: [] for block in BLOCKS}
    for part in images.split(500):
        for block, features in enumerate(block_outputs(model, part)):
            if block in found:
                found[block].append(features.clone())
    return {block: torch.cat(parts) for block, parts in found.items()}
