"""Heads that the task calls for take the place of the methods' own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import locallearn as ll
from locallearn.abstract_method import Context, sites
from locallearn.auxiliary import DenseHead, PooledLinear
from locallearn.tasks import Task
from small_networks import residual, stack


class OwnHead(DenseHead):
    """To be told from others."""


@dataclass(frozen=True)
class Pixels(Task):
    """A class for every pixel; the network's logits are resized."""

    num_outputs = 3
    has_labels = False

    def fits(self, output_shape):
        return True

    def check_targets(self, targets, batch_size):
        assert len(targets) == batch_size

    def head(self, shape):
        return OwnHead(shape, 3)

    def loss(self, logits, targets):
        return F.cross_entropy(F.interpolate(logits, targets.shape[1:], mode="bilinear"), targets)

    def output_loss(self, network, output, targets):
        return self.loss(output, targets)

    def hits(self, logits, targets):
        return None

    def blank_targets(self, inputs):
        return inputs.new_zeros(len(inputs), *inputs.shape[2:], dtype=torch.long)

    def metric(self):
        raise NotImplementedError

    def labels(self, targets):
        raise NotImplementedError


def segmenter(strides=(1, 2, 1, 1)):
    network = stack([4, 6, 8, 10], strides=strides)
    return nn.Sequential(*list(network)[:-3], nn.Conv2d(10, 3, 1, dtype=torch.float64))


def model_of(method, num_blocks=4):
    blocks = ll.partition(segmenter(), torch.zeros(2, 3, 8, 8, dtype=torch.float64), num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, Pixels())


def heads_of(model):
    return [module for module in model.objectives.modules() if isinstance(module, OwnHead)]


METHODS = {
    "dgl": ll.DGL(head="authors"),
    "infopro": ll.InfoPro(task_loss="cross_entropy"),
    "man": ll.MAN(ll.DGL()),
    "mlaan": ll.MLAAN(),
    "infopro+mlaan": ll.MLAAN(ll.InfoPro(task_loss="cross_entropy")),
    "auglocal": ll.AugLocal(tail="kept"),
    "infopro+auglocal": ll.AugLocal(ll.InfoPro(task_loss="cross_entropy"), tail="kept"),
    "auglocal+man": ll.MAN(ll.AugLocal(tail="kept")),
    "man+auglocal": ll.AugLocal(ll.MAN(ll.DGL()), tail="kept"),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_prediction_goes_through_the_tasks_head(name):
    torch.manual_seed(0)
    model = model_of(METHODS[name])
    local = [objective for window, objective in zip(model.windows, model.objectives, strict=True) if window.stop < 4]
    assert len(heads_of(model)) == len(local)
    assert not [m for m in model.objectives.modules() if isinstance(m, (PooledLinear, nn.Linear))]
    outputs = model.local_backward(torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.randint(3, (2, 8, 8)))
    assert all(output.loss.isfinite() for output in outputs)
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_it_is_built_for_what_it_reads():
    def widths(method):
        return [head.conv.in_channels for head in heads_of(model_of(method))]

    assert widths(ll.DGL()) == [4, 6, 8]
    assert widths(ll.MAN(ll.DGL())) == [6, 8, 10]
    assert widths(ll.AugLocal(depth=1, tail="kept")) == [10, 10, 10]


def test_a_head_that_is_given_goes_before():
    made = []

    def given(site, num_outputs):
        made.append((site.shape, num_outputs))
        return nn.Conv2d(site.shape[0], num_outputs, 1, dtype=torch.float64)

    blocks = ll.partition(segmenter(), torch.zeros(2, 3, 8, 8, dtype=torch.float64), num_blocks=4)

    method, context = ll.DGL(), Context(blocks, Pixels())
    windows = method.windows(blocks)
    method.objective(windows[0], sites(windows, blocks)[0], context, head=given)
    assert made == [((4, 8, 8), 3)]


def test_tasks_that_call_for_none_leave_the_methods_own():
    blocks = ll.partition(residual(2), torch.zeros(2, 3, 8, 8, dtype=torch.float64), num_blocks=3)
    model = ll.LocalModel(blocks, ll.PredSim(), ll.Classification(3))
    assert sum(isinstance(module, PooledLinear) for module in model.objectives.modules()) == 2


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (ll.InfoPro(), "contrastive loss compares samples by their class, and Pixels has none"),
        (ll.PredSim(), "compares samples by their class, and Pixels has none"),
        (ll.AugLocal(layers="conv3x3", tail="kept"), "calls for a head of its own; use layers='selected'"),
    ],
)
def test_methods_that_cannot_use_it_say_so(method, message):
    with pytest.raises(ll.InputError, match=message):
        model_of(method)
