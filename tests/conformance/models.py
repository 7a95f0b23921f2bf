"""Every method on every small network: names, models, batches, a few steps of training."""

from __future__ import annotations

import functools
import itertools
from copy import deepcopy

import torch

import locallearn as ll
from conformance.networks import CLASSES, NETWORKS
from locallearn.execution import PLAIN

RULE = {"leap_layers": "rule"}
METHODS = {
    "backprop": {},
    "dgl": {},
    "predsim": {},
    "infopro": {"prediction": (0.5, 1.0)},
    "auglocal": {},
    "predsim+auglocal": {},
    "infopro+auglocal": {},
    "dgl+man": {},
    "predsim+man": {},
    "infopro+man": {},
    "auglocal+man": {},
    "dgl+man_code": {},
    "dgl+man_paper": {},
    "mlaan": {},
    "dgl+mlaan": {},
    "predsim+mlaan": {},
    "infopro+mlaan": {},
    "mlaan_code": RULE,
    "mlaan_paper": {},
    "auglocal+mlaan": {},
    "infopro+man_code": {"base": {"prediction": (0.5, 1.0)}},
}
NEEDS_MAPS = r"cannot be restored from a feature of shape \(.*only from a map.*use a method without reconstruction"
REFUSALS = {(method, "perceptron"): NEEDS_MAPS for method in METHODS if method.startswith("infopro")}
"""The only refusals that are allowed: of windows that do not end at the network's output."""
CASES = [case for case in itertools.product(METHODS, NETWORKS) if case not in REFUSALS]


@functools.cache
def network_of(name):
    """The network, made once, with its initial values."""
    torch.manual_seed(3)
    network = NETWORKS[name][0]()
    return network, deepcopy(network.state_dict())


@functools.cache
def blocks_of(name, num_blocks):
    """The network's blocks; None if it has not so many units."""
    network, _ = network_of(name)
    example = torch.rand(2, *NETWORKS[name][1], dtype=torch.float64)
    if num_blocks > len(ll.partition(network, example, num_blocks=1).units):
        return None
    return ll.partition(network, example, num_blocks=num_blocks)


@functools.cache
def most_blocks(name):
    return len(blocks_of(name, 1).units)


def model_of(method, name, num_blocks, seed=0, execution=PLAIN):
    """A model of the network as it was made, and its objectives drawn with a seed."""
    network, start = network_of(name)
    network.load_state_dict(start)
    network.zero_grad()
    torch.manual_seed(seed)
    laid_over = ll.method(method, **METHODS[method])
    return ll.LocalModel(blocks_of(name, num_blocks), laid_over, ll.Classification(CLASSES), execution=execution)


def batch_of(name, seed=1, count=6):
    torch.manual_seed(seed)
    return torch.rand(count, *NETWORKS[name][1], dtype=torch.float64), torch.arange(count) % CLASSES


def optimizer_of(model):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=1e-3)


def train(model, name, steps, optimizer=None):
    """Some steps; the reported losses."""
    optimizer = optimizer or optimizer_of(model)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        losses += [output.loss for output in model.local_backward(*batch_of(name, seed=step))]
        optimizer.step()
        model.after_step()
    return losses


def values(model):
    return deepcopy(model.state_dict())


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert not [name for name in found if not torch.equal(found[name], expected[name])]
