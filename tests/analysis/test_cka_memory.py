"""CKA of deep networks on many images: bytes alive, and the value of all images at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import locallearn as ll
from analysis.test_cka import cka_by, hsic_by_features, model_of
from locallearn import datasets
from locallearn.analysis.block_features import block_outputs
from locallearn.analysis.cka import MinibatchCKA, similarity
from locallearn.cli.similarity import Similarity
from locallearn.datasets.batches import normalize
from locallearn.planning.bytes_alive import BytesAlive
from small_networks import stack

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
    batches = []
    for seed in range(Similarity.passes):
        order = torch.randperm(10_000, generator=torch.Generator().manual_seed(seed)).to(device)
        batches += [(images[part], None) for part in order.split(Similarity.batch_size)]
    matrix = similarity(models[0], models[1], batches).matrix
    for block in (1, 25, 45, 54):
        features = [block_of(model, images, block) for model in models]
        assert matrix[block][block] == pytest.approx(cka_by(hsic_by_features, *features), abs=1e-3)


@torch.no_grad()
def block_of(model, images, block):
    def outputs(part):
        return next(features for index, features in enumerate(block_outputs(model, part)) if index == block)

    return torch.cat([outputs(part) for part in images.split(500)])
