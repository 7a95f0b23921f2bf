from __future__ import annotations

import functools
from copy import deepcopy

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.auxiliary.reducing import ReducingHead
from locallearn.engine.grouped_heads import equal_runs, scored_together
from locallearn.networks import resnet20
from small_networks import gradients


def model_of(method, num_blocks=10, **execution):
    torch.manual_seed(0)
    blocks = ll.partition(resnet20(10).double(), torch.rand(2, 3, 16, 16).double(), num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Classification(10), execution=ll.Execution(**execution))


def runs_of(model):
    shapes = [model.partition.infos[window.stop - 1].out_shape for window in model.windows]
    return equal_runs(list(model.objectives), shapes)


def test_heads_of_one_shape_are_grouped_and_no_others():
    assert runs_of(model_of(ll.DGL())) == [range(4), range(4, 7), range(7, 9)]
    assert runs_of(model_of(ll.DGL(head="infopro"))) == []
    assert runs_of(model_of(ll.PredSim())) == []
    assert runs_of(model_of(ll.AugLocal())) == []


@pytest.mark.parametrize("training", [True, False])
def test_together_they_are_what_they_are_apart(training):
    model = model_of(ll.DGL()).train(training)
    heads = list(model.objectives[:4])
    alone = deepcopy(heads)
    features = [torch.randn(6, 16, 16, 16).double().requires_grad_() for _ in heads]
    copies = [values.detach().clone().requires_grad_() for values in features]
    batch = ll.Batch(torch.rand(6, 3, 16, 16).double(), torch.arange(6))
    together = [parts[0] for parts in scored_together(heads, features, batch)]
    torch.stack([part.loss for part in together]).sum().backward()
    for head, values, copy, part, twin in zip(heads, features, copies, together, alone, strict=True):
        (expected,) = twin.parts(copy, batch)
        expected.loss.backward()
        torch.testing.assert_close(part.loss, expected.loss)
        torch.testing.assert_close(part.logits, expected.logits)
        torch.testing.assert_close(values.grad, copy.grad)
        torch.testing.assert_close(gradients(head), gradients(twin))
        torch.testing.assert_close(head.state_dict(), twin.state_dict())


def learn(model, steps=2):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        images = torch.rand(6, 3, 16, 16).double()
        outputs = model.local_backward(images, torch.arange(6), scales=[0.5] * len(model.windows), keep_logits=True)
        losses += [(output.loss, output.logits) for output in outputs]
        optimizer.step()
    return losses, model.state_dict()


def test_a_step_with_groups_learns_the_same_with_as_many_forward_passes():
    plain, grouped = model_of(ll.DGL()), model_of(ll.DGL(), group_heads=True)
    calls = []
    grouped.network.layer1[0].register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(learn(grouped), learn(plain))
    assert len(calls) == 2


def test_windows_of_a_group_wait_for_its_last_and_are_reported_in_order():
    model = model_of(ll.DGL(), group_heads=True)
    told = []

    class Told(ll.StepListener):
        def before_block(self, index):
            told.append(("block", index))

        def after_window(self, index):
            told.append(("window", index))

    model.local_backward(torch.rand(6, 3, 16, 16).double(), torch.arange(6), listener=Told())
    first = [("block", index) for index in range(4)] + [("window", index) for index in range(4)]
    assert told[:8] == first
    assert [index for kind, index in told if kind == "window"] == list(range(10))


class Counting(ReducingHead):
    """An ordinary BatchNorm counts its batches."""

    def __init__(self, width, norm=nn.BatchNorm1d):
        super().__init__()
        self.norm, self.linear = norm(width), nn.Linear(width, 10)

    def reduced(self, features):
        return features.mean((2, 3))

    def scored(self, reduced):
        return self.linear(self.norm(reduced))


class Scaled(ll.Term):
    def forward(self, features, batch):
        return super().forward(2 * features, batch)


def objectives(kind, head):
    def loss(output, batch):
        return nn.functional.cross_entropy(output, batch.targets)

    return [ll.WeightedTerms(kind("prediction", head(), loss, predicts=True)) for _ in range(3)]


def test_only_heads_known_to_be_equal_are_grouped():
    identity = functools.partial(Counting, 4, nn.Identity)
    maps = [(4, 8, 8)] * 3
    assert equal_runs(objectives(ll.Term, identity), maps) == [range(3)]
    assert equal_runs(objectives(ll.Term, identity), [(4, 8, 8), (4, 4, 4), (4, 4, 4)]) == [range(1, 3)]
    assert equal_runs(objectives(Scaled, identity), maps) == []
    assert equal_runs(objectives(ll.Term, functools.partial(Counting, 4)), maps) == []
    momenta = iter((0.1, 0.2, 0.3))
    assert equal_runs(objectives(ll.Term, lambda: Counting(4, lambda width: nn.BatchNorm1d(
        width, momentum=next(momenta), track_running_stats=False))), maps) == []  # fmt: skip


def test_under_autocast_heads_run_in_the_precision_of_their_weights():
    model = model_of(ll.DGL(), group_heads=True).float()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model.local_backward(torch.rand(6, 3, 16, 16), torch.arange(6), keep_logits=True)
    assert outputs[0].logits.dtype == torch.float32
    assert all(output.loss.isfinite() for output in outputs)
