"""A step in two halves, as two processes take it, is the whole step."""

from __future__ import annotations

import pytest
import torch

import locallearn as ll
from locallearn.engine.local_step import LocalStep
from locallearn.engine.step_listener import NOBODY
from locallearn.partitioning.block import activation
from parallel.cases import METHODS, batch_of, gradients, model_of


class Told(ll.StepListener):
    def __init__(self):
        self.heard = []

    def before_block(self, index):
        self.heard.append(f"block {index}")

    def before_objective(self, index):
        self.heard.append(f"objective {index}")

    def after_window(self, index):
        self.heard.append(f"window {index}")


def half(model, inputs, targets, listener=NOBODY):
    batch = model.batch(inputs, targets)
    return LocalStep(model, batch, scales=None, keep_logits=False, listener=listener)


@pytest.mark.parametrize("border", [1, 2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_two_halves_that_hand_gradients_back_are_the_whole_step(name, border):
    inputs, targets = batch_of(0)
    whole, model = model_of(name), model_of(name)
    expected = whole.local_backward(inputs, targets)
    model.cut_at([border])
    first, second = (half(model, inputs, targets) for _ in range(2))
    handed = []
    cut = next(index for index, segment in enumerate(model.segments) if segment.start == border)
    state = first.run(inputs, model.segments[:cut], handed_on=handed.append)
    assert len(handed) == 1 and handed[0] is state
    second.run(activation(state).detach().clone(), model.segments[cut:])
    crossing = [i for i, window in enumerate(model.windows) if window.start < border < window.stop]
    assert sorted(second.entry_gradients) == crossing
    for index in crossing:
        first.send_back(index, [second.entry_gradients[index]])
    assert not first._passes and not second._passes
    found = gradients(model)
    assert found.keys() == gradients(whole).keys()
    assert all(torch.equal(found[key], gradient) for key, gradient in gradients(whole).items())
    outputs = first.outputs | second.outputs
    assert [outputs[index].loss for index in range(len(model.windows))] == [output.loss for output in expected]


def test_the_output_is_handed_on_before_anything_is_scored_there():
    inputs, targets = batch_of(0)
    model, told = model_of("dgl"), Told()
    step = half(model, inputs, targets, told)
    step.run(inputs, model.segments[:2], handed_on=lambda _: told.heard.append("handed on"))
    first = ["block 0", "objective 0", "window 0"]
    assert told.heard == [*first, "block 1", "handed on", "objective 1", "window 1"]
    assert model.active_window is None
