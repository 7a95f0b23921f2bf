from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from locallearn import networks
from locallearn.errors import InputError
from locallearn.networks.lookup import OWN, TORCHVISION


def test_names_of_all_our_networks_build() -> None:
    own = [name for name, line in networks.names().items() if ":" not in name and line != "torchvision's"]
    assert own[:5] == ["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]
    assert set(own) < set(networks.__all__) and all(callable(getattr(networks, name)) for name in own)
    assert all(0 < len(line) < 100 for line in networks.names().values())


def test_importing_and_listing_needs_no_torch() -> None:
    code = "import sys, locallearn.networks as n; n.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_torchvision_has_the_networks_whose_bare_names_are_listed() -> None:
    from torchvision import models

    assert set(TORCHVISION) <= set(models.list_models(module=models)) and not set(TORCHVISION) & set(OWN)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="resnet21"):
        _ = networks.resnet21


def test_torchvisions_with_and_without_prefix() -> None:
    for name in ("resnet18", "torchvision:resnet18"):
        network = networks.build(name, 7, zero_init_residual=True)
        assert type(network).__module__.startswith("torchvision") and network.fc.out_features == 7


def test_timms() -> None:
    pytest.importorskip("timm")
    network = networks.build("timm:resnet10t", 7, in_chans=1)
    assert network.get_classifier().out_features == 7
    for name in ("timm:resnet10", "timm:"):
        with pytest.raises(InputError, match="There is no network"):
            networks.build(name, 7)
    with pytest.raises(InputError, match=r"unexpected keyword argument 'color'.*'in_chans'"):
        networks.build("timm:resnet10t", 7, color="red")


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"needs timm: pip install 'locallearn\[timm\]'"):
        networks.build("timm:resnet18", 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet21", {}, "There is no network 'resnet21'. Did you mean .*resnet20"),
        ("torchvision:resnet17", {}, "Did you mean .*resnet18"),
        (
            "qqq",
            {},
            "There is no network 'qqq'. Use a name of `locallearn ls networks`, torchvision:NAME, timm:",
        ),
        (":resnet20", {}, "There is no network ':resnet20'"),
        ("resnet20", {"width": 3}, "'width'.*its options are 'in_channels'"),
        ("torchvision:resnet18", {"width": 3}, "'width'.*its options are 'zero_init_residual', 'groups'"),
        ("torchvision:resnet18", {"groups": 2}, "BasicBlock only supports groups=1"),
        ("torchvision:resnet18", {"pretrained": True}, "takes no 'pretrained'; for weights say weights='DEFAULT'"),
        ("no_such_package.nets:make", {}, "cannot be imported from no_such_package.nets.*PYTHONPATH"),
    ],
)
def test_mistakes_are_named_with_the_remedy(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        networks.build(name, 10, **options)


def test_no_classes_are_refused() -> None:
    with pytest.raises(InputError, match="num_classes must be at least 1, not 0"):
        networks.build("resnet20", 0)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    source = """
from torch import nn

def small(num_classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, num_classes))

def nothing(num_classes):
    return None

def no_classes(width):
    return nn.Identity()

number = 3
"""
    (tmp_path / "own_networks_for_lookup.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks_for_lookup", raising=False)
    return "own_networks_for_lookup"


def test_the_users_own(own_module: str) -> None:
    assert networks.build(f"{own_module}:small", 7, width=5)[2].weight.shape == (7, 5)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("nothing", {}, "must return a torch.nn.Module, not NoneType"),
        ("no_classes", {"width": 3}, "cannot be called with num_classes.*its options are 'width'"),
        ("small", {"depth": 3}, "'depth'.*its options are 'width'"),
        ("smal", {}, "Did you mean small"),
        ("number", {}, "There is no network"),
    ],
)
def test_mistakes_of_the_users_own(own_module: str, function: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        networks.build(f"{own_module}:{function}", 10, **options)
