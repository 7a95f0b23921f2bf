from __future__ import annotations

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.networks import build
from locallearn.partitioning.block import activation
from small_networks import perceptron, residual, stack


def chained(blocks, inputs):
    state = inputs
    for block in blocks:
        state = block(state)
    return state


UNITS = {
    "resnet32": (32, 16),
    "resnet110": (32, 55),
    "torchvision:resnet18": (64, 9),
    "torchvision:vgg13": (32, 10),
    "torchvision:mobilenet_v2": (64, 19),
    "torchvision:efficientnet_b0": (64, 18),
    "torchvision:regnet_x_400mf": (64, 23),
    "torchvision:densenet121": (64, 8),
    "torchvision:swin_t": (64, 16),
}


@pytest.mark.parametrize("name", UNITS)
def test_units_are_the_papers_counts_and_the_chain_is_the_network(name):
    side, count = UNITS[name]
    network = build(name, 10).train()
    example = torch.randn(2, 3, side, side)
    blocks = ll.partition(network, example, num_blocks=count)
    assert len(blocks.units) == count == len(blocks.blocks)
    assert all(module.training for module in network.modules())
    network.eval()
    with torch.no_grad():
        assert torch.equal(chained(blocks.blocks, example), network(example))


def test_vision_transformer_has_one_unit_per_layer_and_its_stem():
    from torchvision.models import VisionTransformer

    network = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    blocks = ll.partition(network, torch.randn(2, 3, 32, 32), num_blocks=4)
    assert [unit.name for unit in blocks.units] == [
        "conv_proj",
        *(f"encoder.layers.encoder_layer_{i}" for i in range(3)),
    ]
    assert blocks.head.modules_called == ("heads.head",)


def test_stages_begin_where_parents_or_resolutions_change():
    blocks = ll.partition(build("resnet20", 10), torch.randn(2, 3, 32, 32), num_blocks=1)
    assert [unit.stage for unit in blocks.units] == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert blocks.units[4].in_shape == (16, 32, 32)
    assert blocks.units[4].out_shape == (32, 16, 16)


def test_training_mode_chain_is_the_network_bit_for_bit():
    network = residual(dtype=torch.float32)
    inputs = torch.randn(4, 3, 8, 8)
    blocks = ll.partition(network, inputs, num_blocks=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = chained(blocks.blocks, inputs)
    statistics = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(before)
    assert torch.equal(first, network(inputs))
    assert all(torch.equal(statistics[name], value) for name, value in network.state_dict().items())


def test_the_network_is_left_as_it_was():
    network = residual()
    network.blocks[1].eval()
    network.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attributes = set(vars(network))
    ll.partition(network, torch.randn(2, 3, 8, 8, dtype=torch.float64), num_blocks=2)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert list(before) == list(network.state_dict())
    assert not network.blocks[1].training and network.blocks[0].training
    assert not network.stem.weight.requires_grad and network.linear.weight.requires_grad
    assert set(vars(network)) == attributes


def test_buffers_that_count_calls_are_restored_also_after_a_refusal():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            self.calls.add_(1)
            return self.linear(x)

    network = nn.Sequential(Counting(), nn.Linear(8, 8), nn.Linear(8, 3))
    ll.partition(network, torch.zeros(2, 8), num_blocks=2)
    with pytest.raises(ll.InputError):
        ll.partition(network, torch.zeros(2, 8), num_blocks=2, chain=[network[1], network[0], network[2]])
    assert float(network[0].calls) == 0


def test_dropout_behind_a_helper_method_follows_the_mode():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return self._implementation(x)

        def _implementation(self, x):
            return nn.functional.dropout(self.linear(x), 0.5, self.training)

    network, inputs = nn.Sequential(Hidden(), Hidden(), nn.Linear(8, 3)), torch.randn(64, 8)
    block = ll.partition(network, inputs, num_blocks=2).blocks[0]
    assert (block(inputs) == 0).any()
    network.eval()
    assert not (block(inputs) == 0).any()


def test_a_part_that_cannot_even_be_called_in_a_trace_is_refused_not_retried_for_ever():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x, option):
            return self.linear(x) if x.sum() > option["limit"] else x

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.picky, self.last = nn.Linear(8, 8), Picky(), nn.Linear(8, 3)

        def forward(self, x):
            return self.last(self.picky(self.first(x), {"limit": object()}))

    with pytest.raises(ll.InputError, match="Outer cannot be traced"):
        ll.partition(Outer(), torch.randn(2, 8), num_blocks=2)


def test_blocks_hold_nothing_and_read_the_network_at_every_call():
    network = stack([4, 4])
    inputs = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    blocks = ll.partition(network, inputs, num_blocks=2)
    assert not list(blocks.blocks[0].parameters()) and not blocks.blocks[0].state_dict()
    network.linear = nn.Linear(4, 7).double()
    assert chained(blocks.blocks, inputs).shape == (2, 7)


def test_pool_joins_the_convolution_after_it_and_the_residual_stem_before_it():
    vgg = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 3)
    )
    units = ll.partition(vgg, torch.randn(2, 3, 8, 8), num_blocks=1).units
    assert [unit.out_shape for unit in units] == [(4, 6, 6), (4, 1, 1)]
    units = ll.partition(build("torchvision:resnet18", 10), torch.randn(2, 3, 64, 64), num_blocks=9).units
    assert units[0].out_shape == (64, 16, 16)


@pytest.mark.parametrize("balance", ["depth", "memory", "flops"])
def test_every_balance_gives_every_k(balance):
    network = stack([4, 4, 8, 8, 16], strides=[1, 1, 2, 1, 2])
    example = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for num_blocks in range(1, 6):
        blocks = ll.partition(network, example, num_blocks=num_blocks, balance=balance)
        assert [unit for info in blocks.infos for unit in info.units] == list(range(5))


def test_memory_balance_gives_the_early_layers_fewer_units():
    network = build("resnet20", 10)
    infos = ll.partition(network, torch.randn(2, 3, 32, 32), num_blocks=3, balance="memory").infos
    sizes = [len(info.units) for info in infos]
    assert sizes[0] < sizes[-1] and sum(sizes) == 10


def test_split_points_end_blocks_after_the_named_modules():
    network = build("resnet20", 10)
    blocks = ll.partition(network, torch.randn(2, 3, 32, 32), split_points=["layer1", "layer2.1"])
    assert [list(info.units) for info in blocks.infos] == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]


class _Carrying(nn.Module):
    """Hands a size and a mask past every cut."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.register_buffer("table", torch.randn(8))

    def forward(self, x):
        size = x.shape[0]
        mask = x > 0
        offset = self.table * 2
        h = torch.relu(self.first(x)) + offset
        h = torch.relu(self.second(h)) * mask + offset
        return self.third(h.view(size, 8))


def test_sizes_masks_and_tables_of_parameters_pass_the_cuts():
    network, inputs = _Carrying(), torch.randn(4, 8)
    attributes = set(vars(network))
    blocks = ll.partition(network, inputs, num_blocks=2)
    assert set(vars(network)) == attributes
    network.table.add_(1)
    chained(blocks.blocks, inputs).sum().backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    network(inputs).sum().backward()
    assert all(torch.equal(found[name], p.grad) for name, p in network.named_parameters())
    assert isinstance(blocks.blocks[0](inputs), tuple)
    assert activation(blocks.blocks[0](inputs)).shape == (4, 8)
    network.register_buffer("table", None)
    network.table = nn.Parameter(torch.randn(8))
    with pytest.raises(ll.InputError, match="table is used by blocks 0 and 1"):
        ll.partition(network, inputs, num_blocks=2)


class _Overwriting(nn.Module):
    def forward(self, x):
        return x.mul_(2)


@pytest.mark.parametrize(
    "first", [nn.ReLU(inplace=True), nn.Sequential(nn.Identity(), nn.Dropout(0.5, inplace=True)), _Overwriting()]
)
def test_a_block_that_would_overwrite_its_input_copies_it(first):
    body = nn.Sequential(first, nn.Conv2d(4, 4, 1))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), body, nn.Sequential(nn.Flatten(), nn.Linear(144, 3)))
    inputs = torch.randn(2, 3, 8, 8)
    blocks = ll.partition(network, inputs, num_blocks=2, chain=list(network)).blocks
    entering = blocks[0](inputs).detach()
    kept = entering.clone()
    blocks[1](entering)
    assert torch.equal(entering, kept)


class _DataDependent(nn.Module):
    """Cannot be traced, having a choice of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, width, bias=False) for width in (8, 8, 3))

    def forward(self, x):
        if x.sum() > 1e9:
            x = -x
        return self.c(self.b(self.a(x)))


def test_untraceable_networks_are_refused_with_the_way_out_and_chained_by_hand():
    network, example = _DataDependent(), torch.zeros(2, 8)
    with pytest.raises(ll.InputError, match=r"_DataDependent cannot be traced.*chain="):
        ll.partition(network, example, num_blocks=2)
    blocks = ll.partition(network, example, num_blocks=2, chain=[network.a, network.b, network.c])
    assert torch.equal(chained(blocks.blocks, example), network(example))
    with pytest.raises(ll.InputError, match="does not equal _DataDependent"):
        ll.partition(network, example, num_blocks=2, chain=[network.b, network.a, network.c])
    with pytest.raises(ll.InputError, match="not part of the network: entries 1"):
        ll.partition(network, example, num_blocks=2, chain=[network.a, nn.Linear(8, 8), network.c])


def test_untraceable_parts_stay_whole_and_are_named():
    class Part(_DataDependent):
        pass

    network = nn.Sequential(nn.Linear(8, 8), Part(), nn.Linear(3, 3))
    assert [unit.name for unit in ll.partition(network, torch.randn(2, 8), num_blocks=2).units] == ["0", "1"]
    with pytest.raises(ll.InputError, match=r"at most 2, not 3\. 1 cannot be traced"):
        ll.partition(network, torch.randn(2, 8), num_blocks=3)


class _TwoPaths(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.a(x)
        return self.c(self.b(x) if self.training else x)


def test_another_path_in_training_is_refused():
    with pytest.raises(ll.InputError, match="_TwoPaths takes another path in training"):
        ll.partition(_TwoPaths(), torch.randn(2, 8), num_blocks=2)


def test_shared_modules_and_hooks_across_cuts_are_refused_all_at_once():
    shared = nn.Linear(8, 8)
    network = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared, nn.ReLU()), nn.Linear(8, 3))
    network[2].register_forward_hook(lambda *_: None)
    with pytest.raises(ll.InputError, match=r"(?s)2 has forward hooks.*0\.weight is used by blocks 0 and 1.*0\.bias"):
        ll.partition(network, torch.randn(2, 8), num_blocks=2)
    network[2]._forward_hooks.clear()
    ll.partition(network, torch.randn(2, 8), num_blocks=1)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "either num_blocks= or split_points="),
        ({"num_blocks": 2, "split_points": ["0"]}, "either num_blocks= or split_points="),
        ({"num_blocks": 0}, "at least 1, not 0"),
        ({"num_blocks": 9}, "has 3 units to cut between, so num_blocks can be at most 3, not 9"),
        ({"split_points": ["00", "5"]}, r"(?s)no legal cut after '00'; the nearest are '0'.*nothing but the head"),
        ({"split_points": ["2", "0"]}, "in order"),
        ({"num_blocks": 2, "balance": "beauty"}, "not 'beauty'"),
        ({"num_blocks": 2, "balance": "peak"}, "not 'peak'.*chosen by `locallearn plan --balance peak`"),
    ],
)
def test_requests_that_cannot_be_met(request_, message):
    with pytest.raises(ll.InputError, match=message):
        ll.partition(perceptron(dtype=torch.float32), torch.randn(2, 8), **request_)


class _Ladder(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.stem(x)
        y, z = self.a(h), self.b(h)
        return self.c(y * z)


def test_no_cut_where_two_tensors_that_need_gradient_are_alive():
    units = ll.partition(_Ladder(), torch.randn(2, 8), num_blocks=2).units
    assert [unit.name for unit in units] == ["stem", "a"]


def test_optional_inputs_keep_their_defaults_and_several_inputs_are_refused():
    class Masked(_Ladder):
        def forward(self, x, mask=None, double=True):
            if mask is not None:
                x = x * mask
            return self.c(self.a(self.stem(x * 2 if double else x)))

    network, inputs = Masked(), torch.randn(2, 8)
    assert torch.equal(chained(ll.partition(network, inputs, num_blocks=2).blocks, inputs), network(inputs))

    class Two(_Ladder):
        def forward(self, x, y):
            return self.c(self.stem(x) * self.stem(y))

    with pytest.raises(ll.InputError, match="takes more than one input"):
        ll.partition(Two(), inputs, num_blocks=1)
    with pytest.raises(ll.InputError, match=r"cannot be run on the example of shape \(2, 9\)"):
        ll.partition(network, torch.randn(2, 9), num_blocks=2)
    with pytest.raises(ll.InputError, match=r"(?s)must be a torch.nn.Module.*whole number, not 2.5"):
        ll.partition(Masked, inputs, num_blocks=2.5)


def test_no_cut_within_a_unit():
    class Skipping(_Ladder):
        def forward(self, x):
            y = torch.relu(self.stem(x))
            return self.c(torch.relu(self.b(torch.relu(self.a(y))) + y))

    with pytest.raises(ll.InputError, match="no legal cut after 'a'"):
        ll.partition(Skipping(), torch.randn(2, 8), split_points=["a"])


def test_a_network_without_a_place_to_cut_is_refused():
    with pytest.raises(ll.InputError, match="no place to cut"):
        ll.partition(nn.Sequential(nn.ReLU(), nn.ReLU()), torch.randn(2, 8), num_blocks=1)
