"""What every method promises on every kind of network: K of all sizes, windows that keep apart, repeatable numbers."""

from __future__ import annotations

import functools

import pytest
import torch

import locallearn as ll
from conformance.models import (
    CASES,
    METHODS,
    assert_same,
    batch_of,
    model_of,
    most_blocks,
    network_of,
    train,
    values,
)
from conformance.networks import CLASSES, NETWORKS
from locallearn.methods import METHODS as registered
from locallearn.methods import PRESETS


@pytest.mark.parametrize(("method", "name"), CASES)
def test_every_number_of_blocks_is_built_and_learns(method, name):
    for num_blocks in range(1, most_blocks(name) + 1):
        model = model_of(method, name, num_blocks)
        before = values(model)
        losses = train(model, name, 1)
        assert len(losses) == len(model.windows) and all(loss.isfinite() for loss in losses)
        still = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
        assert not still, f"K={num_blocks}"
        unmoved = [
            key for key, value in model.network.named_parameters() if torch.equal(before["network." + key], value)
        ]
        assert not unmoved, f"K={num_blocks}"


def gradients_by_owner(model):
    """Which block's and which objective's parameters have a gradient other than zero."""

    def reached(parameters):
        return any(p.grad is not None and bool(p.grad.any()) for p in parameters)

    blocks = [reached(model.block_parameters(block)) for block in range(len(model.partition.blocks))]
    return blocks, [reached(objective.parameters()) for objective in model.objectives]


def put_back(model, before):
    """The values before a step, averages included."""
    model.after_step()
    model.load_state_dict(before)
    model.zero_grad()


@pytest.mark.parametrize(("method", "name"), CASES)
def test_a_window_reaches_its_blocks_its_objective_and_nothing_else(method, name):
    model = model_of(method, name, most_blocks(name))
    batch, before = batch_of(name), values(model)
    count = len(model.windows)
    model.local_backward(*batch)
    whole = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    for index, window in enumerate(model.windows):
        put_back(model, before)
        model.local_backward(*batch, scales=[float(index == other) for other in range(count)])
        blocks, objectives = gradients_by_owner(model)
        assert blocks == [window.start <= block < window.stop for block in range(len(blocks))], window
        learns = any(p.requires_grad for p in model.objectives[index].parameters())
        assert objectives == [learns and index == other for other in range(count)], window
        for key, parameter in model.named_parameters():
            if parameter.grad is not None:
                whole[key] -= parameter.grad
    assert not [key for key, rest in whole.items() if rest.abs().max() > 1e-12]


@pytest.mark.parametrize(("method", "name"), CASES)
def test_same_seed_same_numbers_and_another_seed_others(method, name):
    num_blocks = min(3, most_blocks(name))
    first, again, other = (model_of(method, name, num_blocks, seed=seed) for seed in (5, 5, 6))
    start = values(first)
    assert_same(values(again), start)
    drawn = [
        key
        for key, value in other.objectives.state_dict().items()
        if not torch.equal(start["objectives." + key], value)
    ]
    assert drawn or not any(p.requires_grad for p in first.objectives.parameters())
    losses = train(first, name, 2)
    end = values(first)
    again = model_of(method, name, num_blocks, seed=5)
    assert torch.equal(torch.stack(train(again, name, 2)), torch.stack(losses))
    assert_same(values(again), end)


@pytest.mark.parametrize(("method", "name"), CASES)
def test_a_fresh_model_goes_on_from_a_state_bit_for_bit(method, name):
    num_blocks = min(4, most_blocks(name))
    model = model_of(method, name, num_blocks)
    train(model, name, 2)
    state = values(model)
    losses = train(model, name, 2)
    end = values(model)
    fresh = model_of(method, name, num_blocks, seed=9)
    fresh.load_state_dict(state)
    assert torch.equal(torch.stack(train(fresh, name, 2)), torch.stack(losses))
    assert_same(values(fresh), end)
    assert end.keys() - {"network." + key for key in model.network.state_dict()} == {
        "objectives." + key for key in model.objectives.state_dict()
    }
    assert model.network.state_dict().keys() == network_of(name)[1].keys()


@functools.cache
def single_precision(name, num_blocks):
    torch.manual_seed(3)
    network = NETWORKS[name][0](dtype=torch.float32)
    return ll.partition(network, torch.rand(2, *NETWORKS[name][1]), num_blocks=num_blocks)


@pytest.mark.parametrize(("method", "name"), CASES)
def test_bfloat16_is_finite(method, name):
    blocks = single_precision(name, min(3, most_blocks(name)))
    torch.manual_seed(0)
    model = ll.LocalModel(blocks, ll.method(method, **METHODS[method]), ll.Classification(CLASSES))
    inputs, labels = batch_of(name)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model.local_backward(inputs.float(), labels)
    assert all(output.loss.isfinite() for output in outputs)
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.dtype == torch.float32, key
            assert parameter.grad.isfinite().all(), key


COMPILED = [("infopro+man", "staged"), ("dgl+mlaan", "pooled")]


@pytest.mark.parametrize(
    ("method", "name"),
    [*COMPILED, *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case not in COMPILED)],
)
@pytest.mark.filterwarnings("ignore")
def test_compiled_layers_give_what_eager_ones_give(method, name):
    num_blocks = min(3, most_blocks(name))
    model = model_of(method, name, num_blocks)
    before = values(model)
    losses = [output.loss for output in model.local_backward(*batch_of(name))]
    expected = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    put_back(model, before)
    torch.compiler.reset()
    for module in [*model.partition.blocks, *leaves_of(model.objectives)]:
        module.compile(backend="aot_eager")
    try:
        found = [output.loss for output in model.local_backward(*batch_of(name))]
    finally:
        for block in model.partition.blocks:
            block._compiled_call_impl = None
    torch.testing.assert_close(found, losses, rtol=1e-9, atol=1e-12)
    assert expected.keys() == {key for key, p in model.named_parameters() if p.grad is not None}
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[key], rtol=1e-9, atol=1e-12)


def leaves_of(objectives):
    """Auxiliary networks as wholes: what is called inside the objectives."""
    for objective in objectives.modules():
        if isinstance(objective, ll.LocalObjective):
            for child in objective.children():
                if not isinstance(child, (ll.LocalObjective, torch.nn.ModuleList)):
                    yield child
        elif isinstance(objective, ll.Term):
            yield objective.auxiliary


def test_every_registered_method_is_asked():
    asked = {part for method in METHODS for part in method.split("+")}
    assert asked == {*registered, *PRESETS}
