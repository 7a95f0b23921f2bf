from __future__ import annotations

import contextlib
import functools

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models import VisionTransformer, resnet101
from torchvision.models.segmentation import deeplabv3_resnet101, fcn_resnet101

import locallearn as ll
from locallearn.networks import build
from locallearn.partitioning.published_cuts import NETWORKS, PRESETS, known_network

IMAGENET = {
    "resnet34": (1, 3, 4, 6, 3),
    "resnet50": (1, 3, 4, 6, 3),
    "resnet101": (1, 3, 4, 23, 3),
    "resnet152": (1, 3, 8, 36, 3),
    "resnext101_32x8d": (1, 3, 4, 23, 3),
}
"""Units per stage as the papers number them: the stem is stage 0."""
SEGMENTERS = {"deeplabv3_resnet101": deeplabv3_resnet101, "fcn_resnet101": fcn_resnet101}


def transformer() -> nn.Module:
    return VisionTransformer(32, 16, num_layers=12, num_heads=2, hidden_dim=8, mlp_dim=8)


@functools.cache
def uncut(name: str) -> ll.Partition:
    """A network in one block, on fake tensors: weights of this size take long to draw."""
    with contextlib.nullcontext() if name.startswith(("regnet", "vit")) else FakeTensorMode():
        if name in SEGMENTERS:
            network: nn.Module = SEGMENTERS[name](weights=None, weights_backbone=None, num_classes=5)
        elif name == "dilated_resnet101":
            network = resnet101(replace_stride_with_dilation=[False, True, True])
        else:
            network = transformer() if name == "vit_b_16" else build(name, 10)
        return ll.partition(network, torch.zeros(2, 3, 32, 32), num_blocks=1)


def ends(name: str, preset: str, num_blocks: int) -> list[tuple[int, int]]:
    """The last (stage, block) of every block but the last, as published tables say it."""
    runs = IMAGENET.get(name, IMAGENET["resnet101"])
    places = [(stage, block) for stage, run in enumerate(runs) for block in range(run)]
    sizes = PRESETS[preset][name, num_blocks]
    return [places[sum(sizes[:count]) - 1] for count in range(1, len(sizes))]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_known_by_their_form(name: str) -> None:
    blocks = uncut(name)
    assert known_network(blocks.network, blocks.units) == name
    count = len(blocks.units) - (name == "efficientnet_b0")
    for preset, table in PRESETS.items():
        for (network, _), sizes in table.items():
            assert network != name or sum(sizes) == count, (preset, name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("vgg13_bn", "vgg13"),
        ("vgg19_bn", "vgg19"),
        ("vgg19_small", "vgg19"),
        ("mobilenet_v2_small", "mobilenet_v2"),
        ("efficientnet_b0_small", "efficientnet_b0"),
        ("regnet_x_400mf_small", "regnet_x_400mf"),
        ("timm:resnet101", "resnet101"),
        ("timm:resnext101_32x8d", "resnext101_32x8d"),
        ("deeplabv3", "deeplabv3_resnet101"),
        ("fcn_resnet101", None),
        ("dilated_resnet101", None),
        ("resnet18", None),
        ("resnet20", None),
        ("wide_resnet50_2", None),
        ("wide_resnet101_2", None),
        ("resnext101_64x4d", None),
    ],
)
def test_whoever_built_them(name: str, known: str | None) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    blocks = uncut(name)
    assert known_network(blocks.network, blocks.units) == known


@pytest.mark.parametrize(
    ("preset", "num_blocks", "name", "expected"),
    [
        ("infopro", 2, "resnet101", [(2, 0)]),
        ("infopro", 2, "resnet152", [(2, 5)]),
        ("infopro", 2, "resnext101_32x8d", [(2, 2)]),
        ("infopro", 2, "deeplabv3_resnet101", [(3, 12)]),
        ("man", 2, "resnet34", [(2, 0)]),
        ("man", 2, "resnet50", [(2, 0)]),
        ("man", 2, "resnet101", [(2, 0)]),
        ("man", 2, "resnet152", [(2, 5)]),
        ("man", 2, "resnext101_32x8d", [(2, 0)]),
        ("man", 4, "resnet34", [(2, 0), (3, 0), (3, 5)]),
        *(("man", 4, name, [(3, 0), (3, 9), (3, 17)]) for name in ("resnet101", "resnet152", "resnext101_32x8d")),
        *(("man_plus_plus", 4, name, [(2, 2), (3, 8), (3, 16)]) for name in ("resnet101", "resnext101_32x8d")),
        ("man_plus_plus", 4, "resnet152", [(2, 6), (3, 13), (3, 25)]),
        ("memory_balanced", 4, "resnet101", [(1, 1), (2, 2), (3, 8)]),
    ],
)
def test_blocks_of_imagenets_networks_end_where_the_papers_say(preset, num_blocks, name, expected):
    assert ends(name, preset, num_blocks) == expected


def test_imagenets_networks_with_a_block_for_every_layer():
    for name, named in (("resnet34", 17), ("resnet101", 34), ("resnet152", 51)):
        for num_blocks in (named - 1, named):
            assert PRESETS["mlaan"][name, num_blocks] == (2, *[1] * (named - 2))
    for name, count in (("resnet34", 17), ("resnet101", 34), ("vgg13", 10), ("vgg19", 16)):
        assert PRESETS["auglocal"][name, count] == (1,) * count
    assert PRESETS["man"]["vgg13", 10] == (1,) * 10


def test_blocks_of_a_vision_transformer():
    blocks = ll.partition(transformer(), torch.randn(2, 3, 32, 32), num_blocks=6, preset="man")
    names = [[blocks.units[unit].name for unit in info.units] for info in blocks.infos]
    assert names[0] == ["conv_proj", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"]
    assert all(len(each) == 2 for each in names[1:])


def test_units_after_the_published_ones_are_the_heads():
    network = build("efficientnet_b0_small", 10)
    images = torch.randn(2, 3, 32, 32)
    blocks = ll.partition(network, images, num_blocks=17, preset="auglocal")
    assert len(blocks.units) == 17 and blocks.units[-1].name == "features.7.0"
    assert "features.8.0" in blocks.head.modules_called
    network.eval()
    state = images
    for block in blocks.blocks:
        state = block(state)
    assert torch.equal(state, network(images))
    assert len(ll.partition(network, images, num_blocks=18).units) == 18


def test_refusals_say_what_there_is():
    network, images = uncut("resnet101").network, next(uncut("resnet101").network.parameters()).new_zeros(2, 3, 32, 32)
    with pytest.raises(
        ll.InputError, match=r"no cut of resnet101 of 34 units into 8 blocks; for resnet101 it has K=2, K=4"
    ):
        ll.partition(network, images, num_blocks=8, preset="man")
    with pytest.raises(
        ll.InputError, match=r"for resnet101 it has K=2.*That cut is in the presets 'man', 'man_plus_plus'"
    ):
        ll.partition(network, images, num_blocks=4, preset="infopro")
    with pytest.raises(
        ll.InputError, match=r"this network, which has no published cuts.*it is for resnet32, resnet110"
    ):
        ll.partition(build("resnet20", 10), torch.randn(2, 3, 32, 32), num_blocks=4, preset="infopro")


def test_published_cuts():
    resnet32, example = build("resnet32", 10), torch.randn(2, 3, 32, 32)

    def sizes(preset, num_blocks):
        return [len(info.units) for info in ll.partition(resnet32, example, num_blocks=num_blocks, preset=preset).infos]

    assert sizes("auglocal", 8) == [1] * 7 + [9]
    assert sizes("infopro", 3) == [6, 5, 5]
    assert sizes("man", 16) == [2] + [1] * 14
    resnet110 = build("resnet110", 10)
    infos = ll.partition(resnet110, example, num_blocks=32, preset="man").infos
    ends = [info.units.stop - 1 for info in infos][:-1]
    early = [2, 3, 5, 6, 8, 10, 12, 14, 15, 17, 18]
    assert ends == [*early, *(end + 18 for end in early), 38, 40, 41, 43, 44, 46, 48, 50, 52]
    for preset, num_blocks, last in (
        ("infopro", 2, [(2, 8)]),
        ("infopro", 4, [(1, 11), (2, 7), (3, 3)]),
        ("infopro", 8, [(1, 4), (1, 11), (2, 0), (2, 7), (2, 14), (3, 3), (3, 10)]),
        ("infopro_balanced", 2, [(1, 14)]),
        ("infopro_balanced", 3, [(1, 9), (2, 2)]),
        ("infopro_balanced", 4, [(1, 6), (1, 14), (2, 8)]),
        ("infopro_balanced_stl10", 3, [(1, 8), (2, 1)]),
    ):
        infos = ll.partition(resnet110, example, num_blocks=num_blocks, preset=preset).infos
        assert [info.units.stop - 1 for info in infos][:-1] == [1 + 18 * (stage - 1) + block for stage, block in last]
    with pytest.raises(ll.InputError, match="K=2, K=3, K=4, K=8, K=16"):
        sizes("infopro", 5)
    with pytest.raises(ll.InputError, match="Did you mean 'auglocal'"):
        sizes("auglocl", 5)


@pytest.mark.parametrize("output_stride", [16, 32])
def test_deeplabv3_is_known_at_every_output_stride(output_stride):
    with FakeTensorMode():
        network = build("deeplabv3", 5, backbone="resnet101", output_stride=output_stride)
        blocks = ll.partition(network, torch.zeros(2, 3, 32, 32), num_blocks=1)
    assert known_network(network, blocks.units) == "deeplabv3_resnet101"
