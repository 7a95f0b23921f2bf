from __future__ import annotations

import torch
from torch import nn

from locallearn.benchmarking.bytes_saved import BytesSaved

MIB = 2**20


def test_each_storage_counts_once_without_parameters_and_until_it_is_used():
    layer = nn.Linear(256, 256, bias=False)
    inputs = torch.zeros(1024, 256, requires_grad=True)
    with BytesSaved(layer.parameters()) as meter:
        output = layer(inputs).sigmoid()
        assert meter.current == 2 * MIB  # the layer's input, and what the sigmoid made
        loss = (output * output).sum()
        assert meter.current == 2 * MIB  # the product saves the sigmoid's output again
        loss.backward()
        assert meter.current == 0
    assert meter.peak == 2 * MIB


def test_the_peak_is_of_graphs_alive_together():
    layers = [nn.Linear(256, 256) for _ in range(3)]
    inputs = torch.zeros(1024, 256)
    with BytesSaved(p for layer in layers for p in layer.parameters()) as meter:
        features = inputs
        for layer in layers:
            features = layer(features.detach()).sigmoid()
            features.sum().backward()
    assert meter.peak == 2 * MIB


def test_nothing_is_seen_afterwards():
    with BytesSaved([]) as meter:
        pass
    kept = nn.Linear(4, 4)(torch.zeros(2, 4)).sigmoid()
    assert meter.peak == 0 and kept.grad_fn is not None
