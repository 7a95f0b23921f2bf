"""What a method may refuse, and that it says where and what to do instead."""

from __future__ import annotations

import pytest
import torch

import locallearn as ll
from conformance.models import METHODS, REFUSALS, blocks_of, model_of, most_blocks, train
from conformance.networks import CLASSES, NETWORKS
from small_networks import stack


@pytest.mark.parametrize(("method", "name"), sorted(REFUSALS))
def test_what_cannot_work_is_refused_with_the_way_out(method, name):
    train(model_of(method, name, 1), name, 1)
    for num_blocks in range(2, most_blocks(name) + 1):
        blocks = blocks_of(name, num_blocks)
        if any(window.stop < num_blocks for window in ll.method(method, **METHODS[method]).windows(blocks)):
            with pytest.raises(ll.InputError, match=REFUSALS[method, name]):
                model_of(method, name, num_blocks)
        else:
            train(model_of(method, name, num_blocks), name, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_released_leaps_are_refused_where_there_is_no_table(name):
    blocks = blocks_of(name, 3)
    with pytest.raises(ll.InputError, match=r"(?s)no leap layers after unit .* units in 3 blocks.*leap_layers='rule'"):
        ll.LocalModel(blocks, ll.method("mlaan_code"), ll.Classification(CLASSES))


def test_released_leaps_train_the_network_they_are_for():
    torch.manual_seed(0)
    network, images = ll.networks.build("resnet32", CLASSES), torch.rand(3, 3, 8, 8)
    blocks = ll.partition(network, images, num_blocks=8, preset="mlaan")
    model = ll.LocalModel(blocks, ll.method("mlaan_code"), ll.Classification(CLASSES))
    outputs = model.local_backward(images, torch.arange(3))
    assert all(output.loss.isfinite() for output in outputs)
    assert len(outputs) == 13 and {len(objective.layers) for objective in model.objectives[1:-1:2]} == {2, 3, 4}


def test_released_leaps_whose_shapes_do_not_follow_name_units_and_shapes():
    network = stack([4] * 16, CLASSES, strides=[1] * 4 + [2] + [1] * 11)
    blocks = ll.partition(network, torch.rand(2, 3, 8, 8, dtype=torch.float64), num_blocks=15)
    with pytest.raises(ll.InputError, match=r"conv\d+.*reads \(4, \d, \d\).*shape \(4, \d, \d\).*leap_layers='rule'"):
        ll.LocalModel(blocks, ll.method("mlaan_code"), ll.Classification(CLASSES))


class Carrying(torch.nn.Module):
    """Hands on a number, computed from the input, beside the activation."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (torch.nn.Linear(8, 8) for _ in range(3))
        self.last = torch.nn.Linear(8, CLASSES)

    def forward(self, x):
        size = x.detach().abs().mean()
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x))
        return self.last(torch.relu(self.third(x * size)))


@pytest.mark.parametrize("method", [ll.MAN(), ll.MLAAN(leap="both", first_blocks="independent")])
def test_units_that_read_more_than_the_activation_are_refused_by_name(method):
    inputs = torch.rand(4, 8)
    blocks = ll.partition(Carrying(), inputs, num_blocks=3)
    ll.LocalModel(blocks, ll.DGL(), ll.Classification(CLASSES)).local_backward(inputs, torch.arange(4) % CLASSES)
    with pytest.raises(ll.InputError, match=r"Unit \d of Carrying .*cannot be copied: it reads .*Use a method that"):
        ll.LocalModel(blocks, method, ll.Classification(CLASSES))
