from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights, deeplabv3_resnet50

import locallearn as ll
from locallearn.networks import build
from locallearn.networks.segmenters import dilate

torch.set_num_threads(1)
IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def features(resnet: nn.Module) -> torch.Tensor:
    resnet.eval()
    resnet.avgpool, resnet.fc = nn.Identity(), nn.Identity()
    with torch.no_grad():
        return resnet(IMAGES)


@pytest.mark.parametrize("stages", [("layer4",), ("layer3", "layer4")])
def test_dilated_bottlenecks_equal_torchvisions(stages: tuple[str, ...]) -> None:
    flags = [f"layer{stage}" in stages for stage in (2, 3, 4)]
    theirs = models.resnet50(replace_stride_with_dilation=flags)
    ours = models.resnet50()
    ours.load_state_dict(theirs.state_dict())
    dilate(ours, stages)
    assert torch.equal(features(ours), features(theirs))


def test_deeplabv3_is_torchvisions_under_its_names() -> None:
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=7, aux_loss=True).eval()
    ours = build("deeplabv3", 7, backbone="resnet50", aux=True).eval()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        found, wanted = ours(IMAGES), theirs(IMAGES)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)


def test_basic_blocks_are_dilated_like_bottlenecks() -> None:
    """The first block of a dilated stage keeps the dilation before it; so does torchvision's."""
    network = models.resnet18()
    dilate(network, ["layer3", "layer4"])
    reach = {
        name: [conv.dilation[0] for conv in network.get_submodule(name).modules() if isinstance(conv, nn.Conv2d)]
        for name in ("layer2", "layer3", "layer4")
    }
    assert reach == {"layer2": [1] * 5, "layer3": [1, 1, 1, 2, 2], "layer4": [2, 2, 1, 4, 4]}
    assert features(network).shape == (1, 512 * 8 * 8)


@pytest.mark.parametrize(("stride", "side"), [(8, 8), (16, 4), (32, 2)])
def test_output_stride(stride: int, side: int) -> None:
    network = build("deeplabv3", 3, backbone="resnet18", output_stride=stride).eval()
    with torch.no_grad():
        assert network.backbone(IMAGES)["out"].shape == (1, 512, side, side)
        assert network(IMAGES)["out"].shape == (1, 3, 64, 64)
    rates = [conv.dilation[0] for conv in network.classifier[0].modules() if getattr(conv, "kernel_size", 0) == (3, 3)]
    assert rates == [12 * 8 // stride, 24 * 8 // stride, 36 * 8 // stride]


def test_it_is_cut_into_blocks_that_equal_it() -> None:
    network = build("deeplabv3", 3, backbone="resnet18", aux=True)
    blocks = ll.partition(network, torch.zeros(1, 3, 32, 32), num_blocks=4)
    assert [unit.name for unit in blocks.units][::2] == [
        *("backbone.conv1", "backbone.layer1.1", "backbone.layer2.1", "backbone.layer3.1", "backbone.layer4.1")
    ]


def test_weights_of_an_exported_classifier(tmp_path: Path) -> None:
    trained = models.resnet18(num_classes=4)
    save_file(trained.state_dict(), path := tmp_path / "network.safetensors")
    network = build("deeplabv3", 3, backbone="resnet18", weights_backbone=str(path))
    own = network.backbone.state_dict()
    assert own.keys() == {name for name in trained.state_dict() if not name.startswith("fc.")}
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in own.items())


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    other = models.resnet18().state_dict()
    del other["conv1.weight"]
    other["bn1.bias"] = torch.zeros(3)
    save_file(other, path := tmp_path / "other.safetensors")
    with pytest.raises(ll.InputError) as refused:
        build("deeplabv3", 3, backbone="resnet18", weights_backbone=str(path))
    assert "conv1.weight (nothing instead of (64, 3, 7, 7))" in str(refused.value)
    assert "bn1.bias ((3,) instead of (64,))" in str(refused.value)
    path.write_bytes(b"no tensors")
    for file in (path, tmp_path / "absent.safetensors"):
        with pytest.raises(ll.InputError, match="cannot be read as a safetensors file"):
            build("deeplabv3", 3, backbone="resnet18", weights_backbone=str(file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backbone": "vgg13", "output_stride": 4},
            "backbone must be one of resnet18.*\n.*output_stride must be one of",
        ),
        ({"backbone": "resnet18", "weights": "DEFAULT"}, "no weights 'DEFAULT' for all of DeepLabV3 with resnet18"),
        (
            {"backbone": "resnet18", "weights_backbone": "IMAGENET"},
            "'resnet18' has no weights 'IMAGENET'; it has 'IMAGENET1K_V1'",
        ),
        ({"backbone": "resnet50", "weights": "NONE"}, "'deeplabv3_resnet50' has no weights 'NONE'; it has .*'DEFAULT'"),
        ({"backbone": "resnet50", "weights": "DEFAULT"}, "are for 21 classes, not 3: give weights_backbone instead"),
        ({"backbone": "resnet50", "weights": "DEFAULT", "aux": False}, "21 classes.*\n.*leave aux=False out"),
        (
            {"backbone": "resnet50", "weights": "DEFAULT", "weights_backbone": "DEFAULT"},
            "21 classes.*\n.*weights or weights_backbone, not both",
        ),
        ({"width": 3}, "its options are 'backbone', 'aux', 'output_stride'"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ll.InputError, match=message):
        build("deeplabv3", 3, **options)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are kept once they are fetched, of which there are none yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("entry", "options"),
    [
        (models.ResNet18_Weights.IMAGENET1K_V1, {"backbone": "resnet18", "weights_backbone": "IMAGENET1K_V1"}),
        (DeepLabV3_ResNet50_Weights.DEFAULT, {"backbone": "resnet50", "weights": "DEFAULT"}),
    ],
)
def test_no_connection_is_one_clear_refusal(
    home: Path, monkeypatch: pytest.MonkeyPatch, entry: models.WeightsEnum, options: dict[str, str]
) -> None:
    monkeypatch.setattr(entry.value, "url", "http://127.0.0.1:9/fake.pth")
    with pytest.raises(ll.InputError, match=r"could not be loaded.*URLError.*network connection.*weights_backbone="):
        build("deeplabv3", 21, **options)


def test_torchvisions_own_weights(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    torch.save(theirs.state_dict(), home / "whole.pth")
    torch.save(classifier := models.resnet18().state_dict(), home / "body.pth")
    monkeypatch.setattr(DeepLabV3_ResNet50_Weights.DEFAULT.value, "url", (home / "whole.pth").as_uri())
    monkeypatch.setattr(models.ResNet18_Weights.DEFAULT.value, "url", (home / "body.pth").as_uri())
    ours = build("deeplabv3", 21, backbone="resnet50", weights="DEFAULT").state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.state_dict().items())
    body = build("deeplabv3", 3, backbone="resnet18", weights_backbone="DEFAULT").backbone.state_dict()
    assert all(torch.equal(value, classifier[name]) for name, value in body.items())
