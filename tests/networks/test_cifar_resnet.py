from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from locallearn import networks
from locallearn.networks.cifar_resnet import BasicBlock


@pytest.mark.parametrize(("name", "parameters"), [("resnet32", 466906), ("resnet110", 1730714)])
def test_parameters(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in getattr(networks, name)(num_classes=10).parameters()) == parameters


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_depth_counts_convolutions_and_classifier(depth: int) -> None:
    network = networks.build(f"resnet{depth}", 7, in_channels=1)
    main = [name for name, _ in network.named_parameters() if "conv" in name or name == "fc.weight"]
    assert len(main) == depth
    assert network.conv1.in_channels == 1 and network.fc.out_features == 7


def test_keys_are_torchvisions() -> None:
    keys = networks.resnet20().state_dict().keys()
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight"} <= keys
    assert {"layer2.0.downsample.1.weight", "layer3.2.bn2.bias", "fc.weight", "fc.bias"} <= keys
    assert "layer1.0.downsample.0.weight" not in keys and "layer2.1.downsample.0.weight" not in keys


def test_initialisation() -> None:
    torch.manual_seed(0)
    network = networks.resnet20()
    assert network.layer3[1].conv1.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert network.layer3[0].downsample[0].weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.06)
    assert network.bn1.weight.eq(1).all() and network.bn1.bias.eq(0).all()


def test_feature_sizes_and_any_image_size() -> None:
    network = networks.resnet20()
    h = network.relu(network.bn1(network.conv1(torch.randn(2, 3, 32, 32))))
    for stage, shape in zip(
        (network.layer1, network.layer2, network.layer3), ((16, 32), (32, 16), (64, 8)), strict=True
    ):
        h = stage(h)
        assert h.shape == (2, shape[0], shape[1], shape[1])
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def plain_block(block: BasicBlock, x: torch.Tensor) -> torch.Tensor:
    """The block without an in-place operator."""
    out = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    return F.relu(out + (x if block.downsample is None else block.downsample(x)))


@pytest.mark.parametrize(("width", "stride"), [(4, 1), (8, 1), (8, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_block_in_place_equals_block_out_of_place_and_spares_its_input(width: int, stride: int, training: bool) -> None:
    torch.manual_seed(0)
    block = BasicBlock(4, width, stride).double().train(training)
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    before, version = x.detach().clone(), x._version
    fast, slow = block(x), plain_block(block, x)
    torch.testing.assert_close(fast, slow)
    inputs, gradient = [x, *block.parameters()], torch.randn_like(slow)
    torch.testing.assert_close(torch.autograd.grad(fast, inputs, gradient), torch.autograd.grad(slow, inputs, gradient))
    assert x._version == version and torch.equal(x, before)


def test_block_keeps_two_tensors_per_convolution() -> None:
    block, x = BasicBlock(4, 4, 1), torch.randn(16, 4, 8, 8, requires_grad=True)
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(x)
    assert sum(size == x.nbytes for size in storages.values()) == 5


def test_traces() -> None:
    network = networks.resnet20().eval()
    traced, x = torch.fx.symbolic_trace(network), torch.randn(2, 3, 32, 32)
    assert torch.equal(traced(x), network(x))


def test_each_relu_writes_over_its_input() -> None:
    network, same = networks.resnet20(), []
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _, given, made: same.append(given[0].data_ptr() == made.data_ptr()))
    network(torch.randn(2, 3, 8, 8))
    assert len(same) == 19 and all(same)
