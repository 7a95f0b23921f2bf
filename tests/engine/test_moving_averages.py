"""What goes wrong around copies that follow the network, and is said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.engine.moving_averages import MovingAverages
from small_networks import residual, stack

INPUTS, LABELS = torch.rand(4, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0])


def model_of(method, network=None, num_blocks=4):
    network = network or residual(3)
    example = torch.zeros(2, 3, 8, 8, dtype=next(network.parameters()).dtype)
    blocks = ll.partition(network, example, num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Classification(3))


@pytest.mark.parametrize("update", ["after_step", "before_step"])
@pytest.mark.parametrize("fused", [False, True])
def test_a_forgotten_after_step_is_noticed_with_any_optimizer(update, fused):
    model = model_of(ll.MAN(update=update), residual(3, dtype=torch.float32))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    model.local_backward(INPUTS.float(), LABELS)
    model.local_backward(INPUTS.float(), LABELS)
    optimizer.step()
    with pytest.raises(ll.InputError, match=r"Call model.after_step\(\) after every optimizer.step\(\)"):
        model.local_backward(INPUTS.float(), LABELS)
    model.after_step()
    model.local_backward(INPUTS.float(), LABELS)


def test_a_state_can_be_put_back_into_a_model_in_use():
    model = model_of(ll.MAN(momentum=0.5))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.local_backward(INPUTS, LABELS)
    optimizer.step()
    model.load_state_dict(state)
    model.local_backward(INPUTS, LABELS)
    averaged = {name for name in state if ".averaged." in name and "running" not in name and "num_batches" not in name}
    assert averaged
    for name in averaged:
        assert torch.equal(model.state_dict()[name], state[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_averages_too_coarse_to_move_are_refused(dtype):
    model = model_of(ll.MAN()).to(dtype)
    with pytest.raises(ll.InputError, match=r"Moving averages in torch.*under torch.autocast"):
        model.local_backward(INPUTS.to(dtype), LABELS)
    model = model_of(ll.MAN(momentum=0.0)).to(torch.bfloat16)
    model.local_backward(INPUTS.bfloat16(), LABELS)


@pytest.mark.parametrize("method", [ll.MAN(), ll.MLAAN(averaging="twin_all")])
def test_unfreezing_the_whole_model_does_not_train_the_averaged_copies(method):
    model = model_of(method)
    model.requires_grad_(True)
    model.local_backward(INPUTS, LABELS)
    averaged = [parameter for name, parameter in model.named_parameters() if ".averaged." in name]
    assert averaged and all(parameter.grad is None for parameter in averaged)
    pulled = model_of(ll.MAN(copy="pulled", bias="none"))
    pulled.local_backward(INPUTS, LABELS)
    assert all(p.grad is not None for name, p in pulled.named_parameters() if ".averaged." in name)


def test_modules_replaced_after_the_cut_are_noticed():
    network = residual(3)
    model = model_of(ll.DGL(), network)
    model.local_backward(INPUTS, LABELS)
    network.blocks = nn.Sequential(*network.blocks, nn.Sigmoid())
    with pytest.raises(ll.InputError, match="The module 'blocks' of Sequential was replaced after the network was cut"):
        model.local_backward(INPUTS, LABELS)


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        (nn.Conv2d(4, 4, 5, padding=2, bias=False).double(), r"'conv2.weight' has shape \(4, 4, 5, 5\) and the copy"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False)).double(), "has no 'conv2.weight' any more"),
    ],
)
def test_a_source_that_changed_its_form_is_named(replacement, message):
    network = stack([4, 4, 4, 4])
    model = model_of(ll.MAN(), network)
    network.conv2 = replacement
    with pytest.raises(ll.InputError, match=message):
        model.local_backward(INPUTS, LABELS)
        model.after_step()


@pytest.mark.parametrize("method", [ll.MLAAN(cascade=4), ll.AugLocal(depth=9)])
def test_a_method_left_with_one_window_says_that_it_is_back_propagation(method):
    with pytest.warns(UserWarning, match="puts all 4 blocks into one window, which is back-propagation"):
        model_of(method)


def averages_of(method, elsewhere):
    """Averages of a model that hears of some sources, and its copies' values by the names of their sources."""
    model = model_of(method)
    heard = {name: torch.full_like(p, 2.0) for name, p in model.network.named_parameters() if elsewhere in name}
    objectives = {index: objective for index, objective in enumerate(model.objectives)}
    model.averages = MovingAverages(model.network, objectives, elsewhere=heard)
    return model, heard, [follow for objective in model.objectives for follow in objective.follows()]


def test_copies_of_what_is_trained_elsewhere_follow_once_for_each_step_and_when_told():
    model, heard, follows = averages_of(ll.MAN(momentum=0.75), "blocks.1")
    far = [follow for follow in follows if follow.source in heard]
    near = [follow for follow in follows if follow.source not in heard and follow.copy.requires_grad is False]
    assert far and near
    before = {id(follow): follow.copy.detach().clone() for follow in follows}
    model.averages.catch_up()  # no step was taken
    model.local_backward(INPUTS, LABELS)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(1.0)
    model.after_step()
    named = dict(model.network.named_parameters())
    for follow in near:
        if follow.source in named:
            assert torch.allclose(follow.copy, torch.lerp(before[id(follow)], named[follow.source], 0.25))
    assert all(torch.equal(follow.copy, before[id(follow)]) for follow in far)
    for _ in range(2):
        model.averages.catch_up()
        assert all(torch.allclose(follow.copy, 0.75 * before[id(follow)] + 0.5) for follow in far)


def test_windows_know_whether_they_follow_what_is_elsewhere():
    model, heard, _ = averages_of(ll.MAN(), "blocks.1")
    expected = [any(f.source in heard for f in objective.follows()) for objective in model.objectives]
    assert [model.averages.follows_elsewhere(index) for index in range(len(model.windows))] == expected
    assert any(expected) and not all(expected)
    alone = model_of(ll.MAN())
    assert not any(alone.averages.follows_elsewhere(index) for index in range(len(alone.windows)))


def test_averages_before_the_step_take_what_was_heard():
    model, heard, follows = averages_of(ll.MAN(momentum=0.75, update="before_step"), "blocks.1")
    far = [follow for follow in follows if follow.source in heard]
    before = [follow.copy.detach().clone() for follow in far]
    for _ in range(2):  # two batches of one step
        model.local_backward(INPUTS, LABELS)
        assert far
        for follow, values in zip(far, before, strict=True):
            assert torch.allclose(follow.copy, 0.75 * values + 0.5)
    model.after_step()
    model.averages.catch_up()
    assert all(torch.allclose(f.copy, 0.75 * values + 0.5) for f, values in zip(far, before, strict=True))
