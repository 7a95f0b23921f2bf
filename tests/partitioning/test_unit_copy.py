"""Units as modules of their own."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import locallearn as ll
from small_networks import residual, stack

EXAMPLE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def test_copies_chain_to_what_the_network_computes_before_its_head():
    network = residual(3).eval()
    blocks = ll.partition(network, EXAMPLE, num_blocks=4)
    inputs = torch.randn_like(EXAMPLE)
    features = inputs
    for unit in blocks.units:
        features = blocks.copy_unit(unit.index).eval()(features)
        assert tuple(features.shape[1:]) == unit.out_shape
    assert torch.equal(features, blocks.copy_unit(0, 4).eval()(inputs))
    assert torch.equal(blocks.head(features), network(inputs))


@pytest.mark.parametrize("index", range(4))
def test_a_copy_shares_names_but_no_memory(index):
    network = residual(3)
    blocks = ll.partition(network, EXAMPLE, num_blocks=4)
    copy = blocks.copy_unit(index)
    for kind in ("named_parameters", "named_buffers"):
        own, source = dict(getattr(copy, kind)()), dict(getattr(network, kind)())
        assert own.keys() <= source.keys()
        for name, tensor in own.items():
            assert torch.equal(tensor, source[name]) and tensor.data_ptr() != source[name].data_ptr()
    prefix = blocks.units[index].name
    assert {name for name, _ in copy.named_parameters()} == {
        name for name, _ in network.named_parameters() if name.startswith(prefix + ".")
    }


class Uncopyable:
    """What a user's hook may belong to."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def listen(self, *_):
        raise AssertionError("the copy called a hook of its source")


def test_a_copy_has_neither_gradients_nor_hooks():
    network = residual(3)
    network(torch.randn_like(EXAMPLE)).sum().backward()
    blocks = ll.partition(network, EXAMPLE, num_blocks=4)
    called = []
    network.get_submodule("blocks.1").register_forward_hook(lambda *_: called.append("after"))
    network.get_submodule("blocks.1").register_forward_pre_hook(lambda *_: called.append("before"))
    network.get_submodule("blocks.1").register_full_backward_pre_hook(lambda *_: called.append("back"))
    network.get_submodule("blocks.1.conv").register_forward_hook(Uncopyable().listen)
    copy = blocks.copy_unit(2)
    assert all(parameter.grad is None for parameter in copy.parameters())
    copy(torch.randn(2, 4, 8, 8, dtype=torch.float64)).sum().backward()
    assert not called and network.get_submodule("blocks.1")._forward_hooks
    copy.zero_grad()
    assert all(parameter.grad is None for parameter in copy.parameters())


def test_hooks_that_compute_weights_stay():
    network = stack([4, 4, 4])
    nn.utils.spectral_norm(network.get_submodule("conv1"))
    network(torch.randn_like(EXAMPLE))
    copy = ll.partition(network, EXAMPLE, num_blocks=3).copy_unit(1)
    before = copy.get_submodule("conv1").weight_orig.clone()
    with torch.no_grad():
        copy.get_submodule("conv1").weight_orig.mul_(3)
    features = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    scaled = copy.eval()(features)
    with torch.no_grad():
        copy.get_submodule("conv1").weight_orig.copy_(before)
    torch.testing.assert_close(copy(features), scaled)


class InPlaceFirst(nn.Module):
    """Writes into what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x + self.conv(torch.relu_(x))


def test_a_copy_does_not_write_into_its_input():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), InPlaceFirst(4), InPlaceFirst(4), nn.Flatten(), nn.Linear(256, 3))
    copy = ll.partition(network, EXAMPLE.float(), num_blocks=3).copy_unit(1)
    features = torch.randn(2, 4, 8, 8, requires_grad=True)
    before = features.detach().clone()
    copy(features).sum().backward()
    assert torch.equal(features.detach(), before)


class Masked(nn.Module):
    """Hands its mask on beside the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.third = nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        mask = (x > 0).to(x.dtype)
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x) * mask)
        return self.last(torch.relu(self.third(x)))


def test_a_unit_that_reads_more_than_the_activation_is_refused_by_name():
    blocks = ll.partition(Masked(), torch.zeros(2, 8), num_blocks=3)
    with pytest.raises(ll.InputError, match=r"Unit 1 of Masked \(second\) cannot be copied: it reads .* beside"):
        blocks.copy_unit(1)
    assert blocks.copy_unit(2)(torch.zeros(2, 8)).shape == (2, 8)


@pytest.mark.parametrize(("index", "count"), [(-1, 1), (4, 1), (3, 2), (0, 0)])
def test_units_that_are_not_there_are_refused(index, count):
    with pytest.raises(ll.InputError, match="There are no"):
        ll.partition(residual(3), EXAMPLE, num_blocks=4).copy_unit(index, count)


def test_fake_tensors_can_be_copied():
    with FakeTensorMode():
        blocks = ll.partition(residual(3, dtype=torch.float32), torch.zeros(2, 3, 8, 8), num_blocks=4)
        assert blocks.copy_unit(2)(torch.zeros(5, 4, 8, 8)).shape == (5, 4, 8, 8)


def test_a_layer_in_place_only_in_training_does_not_write_into_the_features():
    def block(before, after):
        return nn.Sequential(nn.Dropout(0.5, inplace=True), nn.Conv2d(before, after, 1), nn.BatchNorm2d(after))

    network = nn.Sequential(nn.Conv2d(3, 4, 1), *(block(4, 4) for _ in range(3)), nn.Flatten(), nn.Linear(256, 3))
    model = ll.LocalModel(
        ll.partition(network, EXAMPLE.float(), num_blocks=4), ll.MAN(ll.DGL(head="linear")), ll.Classification(3)
    )
    model.local_backward(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))
