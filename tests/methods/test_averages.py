"""What follows the network: closed-form averages of the recorded history, and copies that are pulled after learning."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

import locallearn as ll
from conformance.networks import CLASSES, staged
from reference.look_ahead import closed_form, pulled_by_sgd

RATE, STEPS = 0.2, 4
NETWORK_BUFFERS = ("running_mean", "running_var")


def model_of(method, num_blocks=4, seed=0, depths=(1, 2, 1)):
    torch.manual_seed(seed)
    network = staged(depths)
    blocks = ll.partition(network, torch.rand(2, 3, 8, 8, dtype=torch.float64), num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Classification(CLASSES))


def batch_of(seed):
    torch.manual_seed(seed)
    return torch.rand(6, 3, 8, 8, dtype=torch.float64), torch.arange(6) % CLASSES


def source_of(known, name):
    """What a tensor of a copy is named in the network, told by the end of its name; None if it copies nothing."""
    if ".layers." not in name:
        return None
    parts = name.split(".")
    return next((tail for start in range(len(parts)) if (tail := ".".join(parts[start:])) in known), None)


def found(copies):
    """The copies, of which there must be some for a test to mean anything."""
    assert copies
    return copies


def copies(model, *, frozen):
    """Parameters of the objectives that copy the network's, with the names of their sources."""
    known = {name for name, _ in model.network.named_parameters()}
    return {
        name: (parameter, source)
        for name, parameter in model.objectives.named_parameters()
        if parameter.requires_grad != frozen and (source := source_of(known, name)) is not None
    }


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


class History:
    """Values before and after every optimizer step, and the gradients, of a short run."""

    def __init__(self, model, *, steps=STEPS, passes=1, momentum=0.0):
        self.start = snapshot(model.objectives)
        self.before, self.after, self.gradients, self.copies = [], [], [], []
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=momentum, weight_decay=1e-2 * bool(momentum))
        for step in range(steps):
            optimizer.zero_grad()
            self.before.append(snapshot(model.network))
            for turn in range(passes):
                model.local_backward(*batch_of(seed=passes * step + turn))
            self.gradients.append(
                {n: p.grad.clone() for n, p in model.objectives.named_parameters() if p.grad is not None}
            )
            still = {name: copy.detach().clone() for name, (copy, _) in copies(model, frozen=True).items()}
            optimizer.step()
            for name, (copy, _) in copies(model, frozen=True).items():
                assert copy.grad is None, f"a gradient reached {name}"
                assert torch.equal(copy, still[name]), f"the optimizer moved {name}"
            self.after.append(snapshot(model.network))
            model.after_step()
            self.copies.append(snapshot(model.objectives))

    def sources(self, update, name, steps):
        return [values[name] for values in (self.before if update == "before_step" else self.after)][:steps]


FOLLOWING = {
    "man": lambda **how: ll.MAN(ll.DGL(), **how),
    "man_two_units": lambda **how: ll.MAN(ll.DGL(head="linear"), units=2, bias="scaled_unit", **how),
    "mlaan": lambda **how: ll.MLAAN(**how),
    "mlaan_all": lambda **how: ll.MLAAN(averaging="twin_all", leap="both", cascade=3, **how),
}


@pytest.mark.parametrize("start", ["equal", "independent"])
@pytest.mark.parametrize("update", ["after_step", "before_step"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_frozen_copies_are_the_closed_form_average_of_the_history(name, update, start):
    model = model_of(FOLLOWING[name](momentum=0.8, update=update, start=start), depths=(1, 3, 2), num_blocks=5)
    history = History(model, momentum=0.9)
    found = copies(model, frozen=True)
    assert found
    for key, (copy, source) in found.items():
        for step in (1, STEPS):
            expected = closed_form(history.start[key], history.sources(update, source, step), 0.8)
            torch.testing.assert_close(history.copies[step - 1][key], expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(copy.detach(), history.copies[-1][key])
        assert not torch.equal(copy.detach(), history.start[key])
    learned = {key for key, p in model.objectives.named_parameters() if p.requires_grad}
    assert all(not torch.equal(history.copies[0][key], history.start[key]) for key in learned)


@pytest.mark.parametrize("update", ["after_step", "before_step"])
@pytest.mark.parametrize(
    "method",
    [
        lambda **how: ll.MAN(ll.DGL(), copy="pulled", bias="channel", **how),
        lambda **how: ll.MLAAN(averaging="pulled", cascade=3, leap="both", **how),
    ],
)
def test_pulled_copies_are_the_replayed_recurrence(method, update):
    model = model_of(method(momentum=0.7, update=update))
    assert not copies(model, frozen=True)
    history = History(model)
    found = copies(model, frozen=False)
    assert found
    for key, (copy, source) in found.items():
        sources = history.sources(update, source, STEPS)
        steps = [gradients[key] for gradients in history.gradients]
        expected = history.start[key]
        if update == "after_step":
            expected = pulled_by_sgd(expected, steps, sources, RATE, 0.7)
        else:
            for gradient, value in zip(steps, sources, strict=True):
                expected = 0.7 * expected + 0.3 * value - RATE * gradient
        torch.testing.assert_close(copy.detach(), expected, rtol=1e-9, atol=1e-9)
        assert any(bool(gradient.any()) for gradient in steps), f"{key} never learned"


@pytest.mark.parametrize("method", [ll.MAN(bias="scaled_unit", momentum=0.5), ll.MLAAN(momentum=0.5)])
def test_trained_copies_beside_averaged_ones_only_learn(method):
    model = model_of(method)
    history = History(model)
    for key, (copy, _) in found(copies(model, frozen=False)).items():
        expected = history.start[key] - RATE * sum(gradients[key] for gradients in history.gradients)
        torch.testing.assert_close(copy.detach(), expected, rtol=1e-9, atol=1e-9)


def test_every_block_but_the_last_has_the_copies_its_method_names():
    def names(method, num_blocks=5):
        model = model_of(method, num_blocks=num_blocks)
        return [
            [
                sorted({source.rsplit(".conv1", 1)[0] for _, source in layer if ".conv1" in source})
                for layer in (
                    [item for key, item in copies(model, frozen=frozen).items() if key.startswith(f"{index}.")]
                    for frozen in (True, False)
                )
            ]
            for index in range(len(model.windows))
        ]

    one, two, three, four = "stage1.0", "stage2.0", "stage2.1", "stage3.0"
    beside = [[[unit], [unit]] for unit in (one, two, three, four)]
    assert names(ll.MAN()) == [*beside, [[], []]]
    assert names(ll.MAN(bias="channel")) == [[[unit], []] for unit in (one, two, three, four)] + [[[], []]]
    assert names(ll.MAN(copy="none")) == [[[], [unit]] for unit in (one, two, three, four)] + [[[], []]]
    assert names(ll.MAN(units=9), num_blocks=3) == [[[one, two]] * 2, [[three, four]] * 2, [[], []]]
    assert names(ll.MAN(units=1), num_blocks=3) == [[[one]] * 2, [[three]] * 2, [[], []]]
    first = [[[], []], [[two], [two, four]], [[], []], [[four], [four]], [[], []], [[four], [four]], [[], []]]
    assert names(ll.MLAAN()) == first
    every = [[twins if index % 2 else [], learned] for index, (twins, learned) in enumerate(first)]
    every[1][0] = [two, four]
    assert names(ll.MLAAN(averaging="twin_all")) == every
    swapped = [[[two], [two, four]], [[], []], [[four], [four]], [[], []], [[four], [four]], [[], []], [[], []]]
    assert names(ll.MLAAN(leap="independent")) == swapped
    assert names(ll.MLAAN(averaging="pulled")) == [[[], learned] for _, learned in first]
    assert names(ll.MLAAN(leap="none")) == [[[], []]] * 7


@pytest.mark.parametrize("make", [lambda **how: ll.MAN(**how), lambda **how: ll.MLAAN(averaging="twin_all", **how)])
def test_copies_start_equal_or_independent(make):
    model = model_of(make(start="equal"))
    for copy, source in [*copies(model, frozen=True).values(), *copies(model, frozen=False).values()]:
        assert torch.equal(copy, model.network.state_dict()[source])
    model = model_of(make(start="independent"))
    frozen, learned = copies(model, frozen=True), copies(model, frozen=False)
    assert frozen and learned
    values = [*frozen.values(), *learned.values()]
    weights = [(copy, source) for copy, source in values if copy.ndim == 4]
    for copy, source in weights:
        assert not torch.isclose(copy, model.network.state_dict()[source]).any()
    assert len({float(copy.detach().sum()) for copy, _ in weights}) == len(weights)
    for copy, source in values:
        if copy.ndim == 1:
            assert torch.equal(copy, torch.full_like(copy, float(source.endswith("weight"))))


def buffers_of(model):
    """Running statistics inside copies, by name, with the names of their sources."""
    known = {name for name, _ in model.network.named_buffers()}
    return {
        name: (buffer, source)
        for name, buffer in model.objectives.named_buffers()
        if name.endswith(NETWORK_BUFFERS) and ".averaged." in name and (source := source_of(known, name))
    }


@pytest.mark.parametrize("update", ["after_step", "before_step"])
@pytest.mark.parametrize("make", [lambda **how: ll.MAN(**how), lambda **how: ll.MLAAN(averaging="pulled", **how)])
def test_running_statistics_follow_if_asked(make, update):
    model = model_of(make(buffers="averaged", momentum=0.6, update=update))
    history = History(model)
    found = buffers_of(model)
    assert found
    for key, (buffer, source) in found.items():
        expected = closed_form(history.start[key], history.sources(update, source, STEPS), 0.6)
        torch.testing.assert_close(buffer, expected, rtol=1e-9, atol=1e-9)
    counters = [
        name for name in model.objectives.state_dict() if name.endswith("num_batches_tracked") and ".averaged." in name
    ]
    assert all(model.objectives.state_dict()[name].dtype == torch.int64 for name in counters)


def test_running_statistics_are_otherwise_those_of_the_copys_own_batches():
    model = model_of(ll.MAN(momentum=0.6))
    layer = model.objectives[0].layers[0].averaged
    before = snapshot(layer)
    seen = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    History(model, steps=1)
    name = next(iter(dict(layer.named_modules())["stage1.0"].norm1.state_dict()))
    assert name == "weight"
    conv, norm = (before[f"stage1.0.{key}"] for key in ("conv1.weight", "norm1.running_mean"))
    mean = torch.nn.functional.conv2d(seen[0], conv, padding=1).mean((0, 2, 3))
    torch.testing.assert_close(layer.state_dict()["stage1.0.norm1.running_mean"], 0.9 * norm + 0.1 * mean)


def test_only_the_last_local_blocks_twin_moves_if_asked():
    model = model_of(ll.MLAAN(averaged_blocks="last", leap="both", momentum=0.5, averaging="twin_all"), num_blocks=5)
    history = History(model)
    last = [str(index) for index, window in enumerate(model.windows) if window.stop == 4]
    moved = {key for key in copies(model, frozen=True) if not torch.equal(history.copies[-1][key], history.start[key])}
    assert moved == {key for key in copies(model, frozen=True) if key.split(".")[0] in last}
    assert len({key.split(".")[0] for key in moved}) == 2


@pytest.mark.parametrize("update", ["after_step", "before_step"])
@pytest.mark.parametrize("make", [lambda **how: ll.MAN(**how), lambda **how: ll.MLAAN(averaging="twin_all", **how)])
def test_several_backward_passes_make_one_averaging(make, update):
    model = model_of(make(momentum=0.5, update=update, start="independent"))
    history = History(model, passes=3)
    for key, (copy, source) in found(copies(model, frozen=True)).items():
        expected = closed_form(history.start[key], history.sources(update, source, STEPS), 0.5)
        torch.testing.assert_close(copy.detach(), expected, rtol=1e-6, atol=1e-6)


def test_averages_before_the_step_are_behind_the_forward_pass_of_their_batch():
    """The batch sees the copy as it was; the copy moves once the window has been through its backward pass."""
    model, other = (model_of(ll.MAN(update=update, momentum=0.0)) for update in ("before_step", "after_step"))
    for step in range(2):
        losses = [
            torch.stack([output.loss for output in each.local_backward(*batch_of(step))]) for each in (model, other)
        ]
        assert torch.equal(*losses) == (step == 0)
        for each in (model, other):
            torch.optim.SGD(each.network.parameters(), lr=RATE).step()
            each.after_step()


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_the_ends_of_the_range_of_momentum(momentum):
    model = model_of(ll.MAN(bias="none", momentum=momentum))
    history = History(model)
    for key, (copy, source) in found(copies(model, frozen=True)).items():
        expected = history.start[key] if momentum else history.after[-1][source]
        assert torch.equal(copy.detach(), expected)


@pytest.mark.parametrize("momentum", [-0.001, 1.001, float("nan")])
@pytest.mark.parametrize("method", [ll.MAN, ll.MLAAN])
def test_a_momentum_out_of_its_range_is_refused(method, momentum):
    with pytest.raises(ll.InputError, match=r"momentum.*between 0 and 1.*not "):
        method(momentum=momentum)


@pytest.mark.parametrize("update", ["after_step", "before_step"])
def test_a_forgotten_after_step_is_said(update):
    model = model_of(ll.MAN(update=update))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(2):
        model.local_backward(*batch_of(0))
        optimizer.step()
        model.after_step()
    model.local_backward(*batch_of(0))
    optimizer.step()
    with pytest.raises(
        ll.InputError, match=r"copies of this method follow were changed.*after_step\(\) was not called"
    ):
        model.local_backward(*batch_of(0))


@pytest.mark.parametrize("method", [ll.MAN(), ll.MAN(copy="pulled", bias="channel"), ll.MLAAN()])
def test_copies_are_in_the_state_and_not_in_the_network(method):
    network = staged((1, 2, 1))
    keys = list(network.state_dict())
    model = model_of(method)
    assert list(model.network.state_dict()) == keys
    assert sum(p.numel() for p in model.network.parameters()) == sum(p.numel() for p in network.parameters())
    held = {"objectives." + name for frozen in (True, False) for name in copies(model, frozen=frozen)}
    assert held and held <= model.state_dict().keys()
    network.load_state_dict(model.network.state_dict(), strict=True)
    owned = {id(p) for p in model.network.parameters()}
    assert not [name for name, p in model.objectives.named_parameters() if id(p) in owned]
    storages = [p.data_ptr() for p in model.parameters()]
    assert len(set(storages)) == len(storages)


@pytest.mark.parametrize("update", ["after_step", "before_step"])
@pytest.mark.parametrize("make", [lambda **how: ll.MAN(**how), lambda **how: ll.MLAAN(averaging="pulled", **how)])
def test_a_run_goes_on_from_its_state_exactly(make, update):
    whole = model_of(make(update=update, momentum=0.7))
    History(whole, steps=2)
    state = whole.state_dict()
    resumed = model_of(make(update=update, momentum=0.7), seed=5)
    resumed.load_state_dict(state)
    for model in (whole, resumed):
        History(model, steps=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_deep_copy_averages_by_itself():
    model = model_of(ll.MAN(momentum=0.5))
    other = deepcopy(model)
    before = snapshot(model)
    History(other, steps=1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    moved = copies(other, frozen=True)
    assert all(
        not torch.equal(copy, before["objectives." + name]) for name, (copy, _) in moved.items() if copy.ndim == 4
    )


def test_copies_follow_the_networks_precision():
    model = model_of(ll.MAN()).float()
    inputs, labels = batch_of(0)
    model.local_backward(inputs.float(), labels)
    torch.optim.SGD(model.parameters(), lr=RATE).step()
    model.after_step()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert isinstance(model.objectives[0].layers[0].averaged, nn.Module)
