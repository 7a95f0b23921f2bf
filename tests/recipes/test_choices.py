"""Names a recipe may hold: closed lists that equal what the package has, and a user's own method."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from typing import get_args

import pytest

from locallearn.abstract_method import Method
from locallearn.errors import InputError
from locallearn.recipes import checked, load
from locallearn.recipes.choices import checked_device, checked_network
from locallearn.recipes.recipe import Preset


@dataclass(frozen=True, kw_only=True)
class Own(Method):
    """A method of a user's."""

    strength: float
    deep: bool = False

    def windows(self, partition):
        raise NotImplementedError

    def objective(self, window, site, context, *, head=None):
        raise NotImplementedError


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("users_methods")
    module.Own = Own  # type: ignore[attr-defined]
    module.Other = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users_methods", module)
    return "users_methods:Own"


def with_method(**fields):
    return checked(load("digits").model_dump() | {"method": fields}, where="x")


def test_a_users_own_method_is_found_and_its_fields_checked(own: str):
    assert with_method(name=own, strength=2).method.build() == Own(strength=2.0)
    with pytest.raises(InputError, match=r"method\.strength is missing"):
        with_method(name=own)
    with pytest.raises(InputError, match=r"method\.deep = 1 must be a valid boolean"):
        with_method(name=own, strength=2.0, deep=1)
    with pytest.raises(InputError, match="not a subclass"):
        with_method(name="users_methods:Other")


def test_the_presets_are_those_of_the_partition():
    from locallearn.partitioning.published_cuts import PRESETS

    assert set(get_args(Preset)) == set(PRESETS)


@pytest.mark.parametrize("name", ["resnet110", "torchvision:resnet18", "timm:vit_tiny_patch16_224", "my.package:build"])
def test_networks_of_every_kind_are_accepted(name: str):
    assert checked_network(name) == name


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:1", "mps", "xpu:0"])
def test_devices_are_accepted(name: str):
    assert checked_device(name) == name
