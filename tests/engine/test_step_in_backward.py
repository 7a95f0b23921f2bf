"""A step inside the backward pass changes memory and nothing else."""

from __future__ import annotations

import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn, optim

import locallearn as ll
from conformance.models import METHODS, assert_same
from locallearn.objective import prediction_term
from locallearn.planning.bytes_alive import BytesAlive, held_by
from small_networks import perceptron, residual

KINDS = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "dampened": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9, dampening=0.5, foreach=True),
    "fused sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=1e-3, fused=True),
    "adamw": lambda groups: optim.AdamW(groups, lr=0.01, foreach=False),
    "foreach adamw": lambda groups: optim.AdamW(groups, lr=0.01, foreach=True, amsgrad=True),
    "fused adamw": lambda groups: optim.AdamW(groups, lr=0.01, fused=True),
}


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.rand(6, 3, 8, 8, generator=generator), torch.arange(6) % 3


def model_of(method, num_blocks=4, network=None):
    torch.manual_seed(0)
    network = network or residual(3, dtype=torch.float32)
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8), num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Classification(3))


class SharedEnd(ll.Method):
    """Every block is scored through the network's own last layers."""

    def windows(self, partition):
        return ll.DGL().windows(partition)

    def objective(self, window, site, context, *, head=None):
        return ll.WeightedTerms(prediction_term(context.partition.network[2:], context.task))


def model_with_shared_end():
    torch.manual_seed(0)
    blocks = ll.partition(residual(3, dtype=torch.float32), torch.zeros(2, 3, 8, 8), num_blocks=4)
    return ll.LocalModel(blocks, SharedEnd(), ll.Classification(3))


def groups_of(model):
    named = model.parameter_groups().items()
    return [{"params": parameters, "name": name} for name, parameters in named if parameters]


def train(model, optimizer, steps, *, listener=None, first=0):
    for step in range(first, first + steps):
        if listener is None:
            model.local_backward(*batch(step))
            optimizer.step()
            optimizer.zero_grad()
        else:
            model.local_backward(*batch(step), listener=listener)
        model.after_step()


def assert_equal_optimizers(one, other):
    assert one.param_groups == other.param_groups
    assert one.state.keys() == other.state.keys()
    for key, values in one.state.items():
        assert values.keys() == other.state[key].keys()
        assert all(torch.equal(value, other.state[key][name]) for name, value in values.items())


def plain(optimizer):
    """The optimizer with its parameters numbered, so that two models' can be compared."""
    state = optimizer.state_dict()
    copy = optim.SGD([nn.Parameter(torch.zeros(1))])
    copy.state, copy.param_groups = state["state"], state["param_groups"]
    return copy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["man", "mlaan"])
def test_the_same_bits_as_the_ordinary_loop(kind, method):
    ordinary, ours = (model_of(ll.method(method)) for _ in range(2))
    optimizers = [KINDS[kind](groups_of(model)) for model in (ordinary, ours)]
    train(ordinary, optimizers[0], 4)
    train(ours, optimizers[1], 4, listener=ll.StepInBackward(ours, optimizers[1]))
    assert_same(ours.state_dict(), ordinary.state_dict())
    assert_equal_optimizers(*map(plain, optimizers))
    assert all(parameter.grad is None for parameter in ours.parameters())


def orders(method):
    """Both orders of averaging, for methods that average."""
    averages = hasattr(ll.method(method, **METHODS[method]), "update")
    return [{"update": "after_step"}, {"update": "before_step"}] if averages else [{}]


@pytest.mark.parametrize(("method", "options"), [(method, options) for method in METHODS for options in orders(method)])
def test_every_method_and_both_orders_of_averaging(method, options):
    ordinary, ours = (model_of(ll.method(method, **METHODS[method] | options)) for _ in range(2))
    optimizers = [KINDS["sgd"](model.parameters()) for model in (ordinary, ours)]
    train(ordinary, optimizers[0], 3)
    train(ours, optimizers[1], 3, listener=ll.StepInBackward(ours, optimizers[1]))
    assert_same(ours.state_dict(), ordinary.state_dict())


def test_parameters_of_several_windows_wait_for_the_last():
    ordinary, ours = (model_with_shared_end() for _ in range(2))
    optimizers = [KINDS["sgd"](model.parameters()) for model in (ordinary, ours)]
    train(ordinary, optimizers[0], 3)
    train(ours, optimizers[1], 3, listener=ll.StepInBackward(ours, optimizers[1]))
    assert_same(ours.state_dict(), ordinary.state_dict())


def test_clipping_by_value_is_the_same():
    ordinary, ours = (model_of(ll.DGL()) for _ in range(2))
    optimizers = [KINDS["sgd"](model.parameters()) for model in (ordinary, ours)]
    for step in range(3):
        ordinary.local_backward(*batch(step))
        nn.utils.clip_grad_value_(ordinary.parameters(), 0.01)
        optimizers[0].step()
        optimizers[0].zero_grad()
    train(ours, optimizers[1], 3, listener=ll.StepInBackward(ours, optimizers[1], clip_value=0.01))
    assert_same(ours.state_dict(), ordinary.state_dict())


@pytest.mark.parametrize("kind", ["sgd", "fused adamw"])
def test_a_state_goes_from_either_loop_to_the_other(kind):
    straight = model_of(ll.DGL())
    optimizer = KINDS[kind](straight.parameters())
    train(straight, optimizer, 6)
    changing = model_of(ll.DGL())
    state = KINDS[kind](changing.parameters()).state_dict()
    for first, stepped in ((0, True), (2, False), (4, True)):
        other = KINDS[kind](changing.parameters())
        other.load_state_dict(deepcopy(state))
        listener = ll.StepInBackward(changing, other) if stepped else None
        train(changing, other, 2, listener=listener, first=first)
        state = other.state_dict()
    assert_same(changing.state_dict(), straight.state_dict())


def test_a_state_loaded_and_rates_set_later_are_used():
    ordinary, ours = (model_of(ll.DGL()) for _ in range(2))
    optimizers = [KINDS["sgd"](model.parameters()) for model in (ordinary, ours)]
    listener = ll.StepInBackward(ours, optimizers[1])
    for model, optimizer, how in ((ordinary, optimizers[0], None), (ours, optimizers[1], listener)):
        train(model, optimizer, 2, listener=how)
        optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
        optimizer.param_groups[0]["lr"] = 0.2
        train(model, optimizer, 2, listener=how, first=2)
    assert_same(ours.state_dict(), ordinary.state_dict())


def test_schedulers_of_the_optimizer_work_and_do_not_warn():
    ordinary, ours = (model_with_shared_end() for _ in range(2))
    for model, stepped in ((ordinary, False), (ours, True)):
        optimizer = KINDS["sgd"](model.parameters())
        schedule = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
        listener = ll.StepInBackward(model, optimizer) if stepped else None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for step in range(3):
                train(model, optimizer, 1, listener=listener, first=step)
                schedule.step()
    assert_same(ours.state_dict(), ordinary.state_dict())


def linear_blocks(num_blocks=4):
    network = nn.Sequential(*(nn.Linear(256, 256) for _ in range(num_blocks)), nn.Linear(256, 3))
    blocks = ll.partition(network, torch.zeros(2, 256), num_blocks=num_blocks)
    return ll.LocalModel(blocks, ll.DGL(head="linear"), ll.Classification(3))


def peak_of(stepped):
    torch.manual_seed(0)
    model = linear_blocks()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    listener = ll.StepInBackward(model, optimizer) if stepped else ll.StepListener()

    def step():
        model.local_backward(torch.zeros(4, 256), torch.zeros(4, dtype=torch.long), listener=listener)
        if not stepped:
            optimizer.step()
            optimizer.zero_grad()

    step()
    with BytesAlive(*held_by(model, optimizer)) as meter:
        step()
    return meter.peak


def test_gradients_of_one_block_are_alive_at_a_time():
    block = 256 * 256 * 4
    assert peak_of(stepped=False) - peak_of(stepped=True) >= 2.9 * block


@pytest.mark.parametrize("method", [ll.MAN(), ll.MAN(update="before_step"), ll.MLAAN()])
@pytest.mark.parametrize("fused", [False, True])
def test_a_forgotten_after_step_is_noticed(method, fused):
    model = model_of(method)
    listener = ll.StepInBackward(model, optim.SGD(model.parameters(), lr=0.1, fused=fused))
    model.local_backward(*batch(0), listener=listener)
    with pytest.raises(ll.InputError, match=r"after_step\(\) was not called"):
        model.local_backward(*batch(1), listener=listener)
    model.after_step()
    model.local_backward(*batch(1), listener=listener)


def test_gradients_of_an_earlier_batch_are_refused():
    model = model_of(ll.DGL())
    optimizer = KINDS["sgd"](model.parameters())
    listener = ll.StepInBackward(model, optimizer)
    model.local_backward(*batch(0))
    with pytest.raises(ll.InputError, match=r"cannot add up several batches. Call optimizer.zero_grad\(\)"):
        model.local_backward(*batch(1), listener=listener)
    optimizer.zero_grad()
    model.local_backward(*batch(1), listener=listener)


def test_after_an_exception_the_next_step_is_a_whole_one(monkeypatch):
    model = model_with_shared_end()
    listener = ll.StepInBackward(model, KINDS["sgd"](model.parameters()))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(model.objectives[2], "parts", lambda *_: 1 / 0)
        model.local_backward(*batch(0), listener=listener)
    expected = deepcopy(model)
    expected.zero_grad()
    other = ll.StepInBackward(expected, KINDS["sgd"](expected.parameters()))
    other.optimizer.load_state_dict(deepcopy(listener.optimizer.state_dict()))
    for one, how in ((model, listener), (expected, other)):
        one.local_backward(*batch(1), listener=how)
        one.after_step()
    assert_same(model.state_dict(), expected.state_dict())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: optim.SGD(model.network.parameters(), lr=0.1), "lacks .* such as 'objectives.0"),
        (lambda model: optim.SGD([*model.parameters(), nn.Parameter(torch.zeros(1))]), "1 parameters that are not the"),
        (lambda model: optim.LBFGS(model.parameters()), "LBFGS couples all parameters"),
    ],
)
def test_optimizers_that_do_not_fit_are_refused(make, words):
    model = model_of(ll.DGL())
    with pytest.raises(ll.InputError, match=words):
        ll.StepInBackward(model, make(model))


def test_an_optimizer_need_not_have_what_is_frozen():
    model = model_of(ll.DGL())
    model.network.stem.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = KINDS["sgd"](trained)
    train(model, optimizer, 1, listener=ll.StepInBackward(model, optimizer))


class Backwards(ll.LocalObjective):
    """Averages the first block, which is stepped long before."""

    def __init__(self, inner, source):
        super().__init__()
        self.inner, self.copy = inner, nn.Parameter(source.detach().clone(), requires_grad=False)

    def parts(self, prepared, batch):
        yield from self.inner.parts(prepared, batch)

    def follows(self):
        return (ll.Follow(self.copy, "0.weight", 0.5, before_step=True),)


class LookingBack(ll.Method):
    def windows(self, partition):
        return ll.DGL().windows(partition)

    def objective(self, window, site, context, *, head=None):
        inner = ll.DGL(head="linear").objective(window, site, context)
        return Backwards(inner, context.partition.network[0].weight)


def test_averages_before_the_step_of_what_is_already_stepped_are_refused():
    blocks = ll.partition(perceptron(dtype=torch.float32), torch.zeros(2, 8), num_blocks=3)
    model = ll.LocalModel(blocks, LookingBack(), ll.Classification(3))
    with pytest.raises(ll.InputError, match=r"window 1 averages '0.weight' as it was before the step"):
        ll.StepInBackward(model, optim.SGD(model.parameters()))
