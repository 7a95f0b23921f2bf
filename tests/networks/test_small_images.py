"""Mobile networks and VGG19 on small images: torchvision's layers, the papers' numbers of local layers."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

import locallearn as ll
from locallearn.networks import build

VARIANTS = {
    "mobilenet_v2_small": ("mobilenet_v2", 19, (1280, 4, 4), set()),
    "efficientnet_b0_small": ("efficientnet_b0", 17, (320, 2, 2), set()),
    "regnet_x_400mf_small": ("regnet_x_400mf", 23, (400, 8, 8), {"trunk_output.block1.block1-0.proj"}),
    "vgg19_small": ("vgg19_bn", 16, (512, 2, 2), {"classifier"}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_states_are_torchvisions(name: str) -> None:
    original, _, _, apart = VARIANTS[name]
    whole = {key: value.shape for key, value in models.get_model(original, num_classes=10).state_dict().items()}
    found = {key: value.shape for key, value in build(name, 10).state_dict().items()}

    def same(state: dict[str, torch.Size]) -> dict[str, torch.Size]:
        return {key: shape for key, shape in state.items() if not key.startswith(tuple(apart) or ("-",))}

    assert same(found) == same(whole)


@pytest.mark.parametrize("name", VARIANTS)
def test_one_local_layer_per_unit_of_the_papers_cut(name: str) -> None:
    _, layers, last, _ = VARIANTS[name]
    blocks = ll.partition(build(name, 10), torch.zeros(2, 3, 32, 32), num_blocks=layers, preset="auglocal")
    assert len(blocks) == len(blocks.units) == layers
    assert blocks.units[-1].out_shape == last and blocks.units[0].out_shape[1:] == (32, 32)


def test_options_reach_the_networks() -> None:
    assert build("mobilenet_v2_small", 7, dropout=0.5).classifier[0].p == 0.5
    assert build("efficientnet_b0_small", 7, stochastic_depth_prob=0.0).features[7][0].stochastic_depth.p == 0
    plain = build("vgg19_small", 7, batch_norm=False)
    assert plain.classifier[0].out_features == 7
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    assert build("regnet_x_400mf_small", 7).fc.out_features == 7
