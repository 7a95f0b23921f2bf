"""Networks whose saved weights are about to be loaded are built without the weights that they began with."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from locallearn.networks import build
from locallearn.networks.weightless import weightless


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet18", {"weights": "DEFAULT"}, {}),
        ("torchvision:resnet18", {"weights": "DEFAULT", "zero_init_residual": True}, {"zero_init_residual": True}),
        ("timm:resnet18.a1_in1k", {"pretrained": True, "drop_rate": 0.1}, {"drop_rate": 0.1}),
        (
            "mask_rcnn",
            {"weights_backbone": "gone.safetensors", "heads": "small"},
            {"heads": "small", "frozen_norm": True},
        ),
        ("retinanet", {"weights_backbone": "DEFAULT", "frozen_norm": False}, {"frozen_norm": False}),
        ("mask_rcnn", {"heads": "small"}, {"heads": "small"}),
        ("deeplabv3", {"weights_backbone": "gone.safetensors", "aux": False}, {"aux": False}),
        ("deeplabv3", {"weights": "DEFAULT", "backbone": "resnet50"}, {"backbone": "resnet50", "aux": True}),
        ("deeplabv3", {"weights": "DEFAULT", "aux": False}, {"aux": True}),
        ("vit_b_16", {"weights": "IMAGENET1K_SWAG_E2E_V1"}, {"image_size": 384}),
        ("mine.nets:net", {"weights": "needed"}, {"weights": "needed"}),
    ],
)
def test_options_without_weights(name: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    before = dict(options)
    assert weightless(name, options) == expected and options == before


@pytest.mark.parametrize(
    ("name", "options", "classes"),
    [
        ("torchvision:googlenet", {"init_weights": False}, 1000),
        ("torchvision:resnet18", {}, 1000),
        ("deeplabv3", {"backbone": "resnet50"}, 21),
    ],
)
def test_the_layers_are_those_with_weights(
    name: str, options: dict[str, Any], classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Torchvision changes some options where weights are given; loading is left out.
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    loaded = build(name, classes, weights="DEFAULT", **options)
    plain = build(name, classes, **weightless(name, options | {"weights": "DEFAULT"}))
    shapes = [{key: value.shape for key, value in each.state_dict().items()} for each in (loaded, plain)]
    assert shapes[0] == shapes[1]
    assert getattr(loaded, "transform_input", None) == getattr(plain, "transform_input", None)
