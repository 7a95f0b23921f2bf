"""Weights of torchvision and timm, from files that stand in for their servers."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18

from locallearn.errors import InputError
from locallearn.networks import build


class Harmful:
    """What no state holds: unpickling it would run code."""

    def __reduce__(self):
        return (pytest.fail, ("code of a weights file ran",))


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts what it is given where torchvision looks for the weights of ResNet-18."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    def put(content: object) -> None:
        torch.save(content, tmp_path / "fake.pth")
        monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", (tmp_path / "fake.pth").as_uri())

    return put


def state_of(classes: int = 1000) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return {
        name: torch.rand_like(t.float()).to(t.dtype) for name, t in resnet18(num_classes=classes).state_dict().items()
    }


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", "DEFAULT"])
@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18"])
def test_all_but_the_classifier_is_loaded_where_the_classes_differ(offered, name: str, weights: str) -> None:
    state = state_of()
    offered(state)
    torch.manual_seed(1)
    found = build(name, 10, weights=weights).state_dict()
    assert found.keys() == state.keys()
    assert found["fc.weight"].shape == (10, 512) and found["fc.bias"].shape == (10,)
    torch.manual_seed(1)
    start = build(name, 10).state_dict()
    for key, value in found.items():
        assert torch.equal(value, start[key] if key.startswith("fc.") else state[key]), key


def test_the_classifier_too_where_the_classes_agree(offered) -> None:
    state = state_of()
    offered(state)
    found = build("resnet18", 1000, weights="IMAGENET1K_V1").state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_no_weights_start_at_random() -> None:
    assert build("resnet18", 10, weights=None).fc.out_features == 10
    with pytest.raises(InputError, match="takes pretrained=True or False, not 'yes'"):
        build("timm:resnet10t", 10, pretrained="yes")


def test_weights_that_are_missing_or_too_many_are_refused(offered) -> None:
    state = state_of()
    state.pop("layer1.0.conv1.weight")
    offered(state)
    with pytest.raises(InputError, match=r"'IMAGENET1K_V1' of the network 'resnet18' could not be loaded"):
        build("resnet18", 10, weights="IMAGENET1K_V1")


def test_options_that_change_layers_are_refused(offered) -> None:
    offered(state_of())
    with pytest.raises(InputError, match=r"could not be loaded.*all other options"):
        build("resnet18", 10, weights="DEFAULT", norm_layer=torch.nn.Identity)


def test_a_file_with_anything_but_tensors_is_refused(offered) -> None:
    offered(state_of() | {"more": Harmful()})
    with pytest.raises(InputError, match=r"could not be loaded.*UnpicklingError"):
        build("resnet18", 10, weights="DEFAULT")


def test_names_of_other_weights_are_refused() -> None:
    with pytest.raises(InputError, match="has no weights 'IMAGENET1K_V2'; it has 'IMAGENET1K_V1', 'DEFAULT'"):
        build("resnet18", 10, weights="IMAGENET1K_V2")
    with pytest.raises(InputError, match="has no weights True"):
        build("resnet18", 10, weights=True)


def test_no_connection_is_one_clear_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", "http://127.0.0.1:9/fake.pth")
    with pytest.raises(InputError, match=r"could not be loaded.*URLError.*network connection.*start at random"):
        build("resnet18", 10, weights="DEFAULT")


def test_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("resnet10t", num_classes=1000).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(state))
    found = build("timm:resnet10t", 10, pretrained=True).state_dict()
    assert found["fc.weight"].shape == (10, 512)
    assert all(torch.equal(found[key], state[key]) for key in state if not key.startswith("fc."))


def test_timm_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")

    def fails(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fails)
    with pytest.raises(InputError, match=r"could not be loaded.*no route to host.*network connection"):
        build("timm:resnet10t", 10, pretrained=True)


def test_no_option_names_a_file(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    path = tmp_path / "own.pth"
    path.write_bytes(pickle.dumps(Harmful()))
    for option in ({"checkpoint_path": str(path)}, {"pretrained_cfg": {"file": str(path)}}):
        with pytest.raises(InputError, match="for weights say pretrained=True"):
            build("timm:resnet10t", 10, **option)
