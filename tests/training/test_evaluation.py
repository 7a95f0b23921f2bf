from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.datasets import load
from locallearn.datasets.batches import Batches
from locallearn.metrics import TopAccuracy
from locallearn.training import evaluate
from training.tiny_runs import convolutions


@pytest.fixture(scope="module")
def batches():
    splits = load("digits")
    return Batches(splits.test, 100, spec=splits.spec, seed=0, augmentation=None, device="cpu", shuffle=False)


def test_every_image_counts_once(batches):
    torch.manual_seed(0)
    network = convolutions(10).eval()
    with torch.no_grad():
        pairs = [pair for xs, ys in batches.epoch(0) for pair in zip(xs, ys.tolist(), strict=True)]
        correct = sum(int(network(image[None]).argmax()) == label for image, label in pairs)
    assert evaluate(network, batches, TopAccuracy(10)) == {"accuracy": 100 * correct / batches.count}


def test_modes_statistics_and_random_state_are_left_alone(batches):
    network = convolutions(10).train()
    network[1].eval()
    modes = [module.training for module in network.modules()]
    statistics, state = network[5].running_mean.clone(), torch.get_rng_state()
    assert evaluate(network, batches, TopAccuracy(10)) == evaluate(network, batches, TopAccuracy(10))
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(network[5].running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), state)


def test_modes_return_after_an_error(batches):
    network = nn.Sequential(nn.Linear(1, 1)).train()
    with pytest.raises(RuntimeError):
        evaluate(network, batches, TopAccuracy(10))
    assert network[0].training
