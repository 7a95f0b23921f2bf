from __future__ import annotations

from copy import deepcopy

import pytest
import torch

import locallearn as ll
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
