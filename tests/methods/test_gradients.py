"""Gradients of every method against a plain implementation of blocks, heads and losses that imports no locallearn."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import locallearn as ll
from reference import heads, losses
from small_networks import gradients, stack

CLASSES = 3
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def weights_of(term):
    return dict(term.auxiliary.named_parameters())


def dgl_loss(terms, x, images, labels, method, position, final):
    quarter = -(-x.shape[2] // 4)
    second = min(quarter, 2)
    logits = heads.conv_mlp(x, weights_of(terms[0]), (quarter, quarter), (second, second))
    return F.cross_entropy(logits, labels)


def predsim_loss(terms, x, images, labels, method, position, final):
    similarity = losses.similarity_matching(heads.similarity_conv(x, weights_of(terms[0])), labels, CLASSES)
    prediction = F.cross_entropy(heads.pooled_linear(x, weights_of(terms[1]), *x.shape[2:]), labels)
    return method.beta * similarity + (1 - method.beta) * prediction


def infopro_loss(terms, x, images, labels, method, position, final):
    first, last = method.reconstruction
    restored = heads.image_decoder(x, weights_of(terms[0]), images.shape[2:])
    loss = ((1 - position) * first + position * last) * losses.reconstruction(restored, images)
    first, last = method.prediction
    output = heads.conv_classifier(x, weights_of(terms[1]), 2 if x.shape[1] < final else 1)
    contrastive = method.task_loss == "contrastive"
    task = losses.supervised_contrastive(output, labels) if contrastive else F.cross_entropy(output, labels)
    return loss + ((1 - position) * first + position * last) * task


METHODS = {
    "dgl": (ll.DGL(), dgl_loss),
    "predsim": (ll.PredSim(beta=0.7), predsim_loss),
    "infopro": (ll.InfoPro(feature_dim=5, task_loss="cross_entropy"), infopro_loss),
    "infopro-contrastive": (ll.InfoPro(feature_dim=5, prediction=(0.5, 2.0)), infopro_loss),
}


def plain_backward(network, objectives, sizes, widths, method, local_loss, inputs, images, labels):
    """Each block from a detached input, its loss back-propagated by itself; the last through the classifier."""
    layers = list(network)
    x, start = inputs, 0
    for index, size in enumerate(sizes):
        x = x.detach()
        for layer in layers[3 * start : 3 * (start + size)]:
            x = layer(x)
        start += size
        if index == len(sizes) - 1:
            for layer in layers[3 * start :]:
                x = layer(x)
            F.cross_entropy(x, labels).backward()
        else:
            position = index / max(len(sizes) - 2, 1)
            local_loss(objectives[index].terms, x, images, labels, method, position, widths[-1]).backward()


@st.composite
def cases(draw):
    count = draw(st.integers(2, 4))
    widths = [draw(st.integers(2, 5)) for _ in range(count)]
    strides = [1] + [draw(st.sampled_from([1, 1, 2])) if 2 * i < count else 1 for i in range(1, count)]
    ends = sorted(draw(st.sets(st.integers(1, count - 1), min_size=1)))
    sizes = [stop - start for start, stop in zip([0, *ends], [*ends, count], strict=True)]
    return widths, strides, sizes, draw(st.integers(2, 5)), draw(st.integers(0, 10_000))


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_gradients_equal_the_plain_implementation(name, case):
    widths, strides, sizes, batch, seed = case
    torch.manual_seed(seed)
    method, local_loss = METHODS[name]
    network = stack(widths, CLASSES, strides=strides)
    images, labels = torch.rand(batch, 3, 8, 8, dtype=torch.float64), torch.randint(CLASSES, (batch,))
    inputs = (images - images.new_tensor(MEAN).view(3, 1, 1)) / images.new_tensor(STD).view(3, 1, 1)
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes) - 1)]
    blocks = ll.partition(network, inputs, split_points=[f"conv{end - 1}" for end in ends])
    model = ll.LocalModel(blocks, method, ll.Classification(CLASSES), normalization=(MEAN, STD))
    slow_network, slow_objectives = deepcopy(network), deepcopy(model.objectives)
    model.local_backward(inputs, labels)
    plain_backward(slow_network, slow_objectives, sizes, widths, method, local_loss, inputs, images, labels)
    for fast, slow in ((network, slow_network), (model.objectives, slow_objectives)):
        expected, found = gradients(slow), gradients(fast)
        assert found.keys() >= expected.keys()
        for key in found:
            wanted = expected.get(key, torch.zeros_like(found[key]))
            torch.testing.assert_close(found[key], wanted, rtol=1e-10, atol=1e-10)
