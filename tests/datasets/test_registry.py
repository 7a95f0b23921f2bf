from __future__ import annotations

import subprocess
import sys

import pytest

from locallearn.datasets.registry import MODULES, SPECS, find_spec
from locallearn.datasets.spec import Augmentation
from locallearn.errors import InputError


def test_published_constants() -> None:
    cifar, svhn, stl = SPECS["cifar10"], SPECS["svhn"], SPECS["stl10"]
    assert cifar.mean == (125.3 / 255, 123.0 / 255, 113.9 / 255)
    assert cifar.std == (63.0 / 255, 62.1 / 255, 66.7 / 255)
    assert cifar.augmentation == Augmentation(pad=4, padding="reflect", flip=True)
    assert svhn.mean == svhn.std == stl.mean == stl.std == (0.5, 0.5, 0.5)
    assert svhn.augmentation == Augmentation(pad=2, padding="zeros", flip=False)
    assert stl.augmentation == Augmentation(pad=4, padding="zeros", flip=True)
    assert [spec.shape for spec in (cifar, svhn, stl)] == [(3, 32, 32), (3, 32, 32), (3, 96, 96)]


def test_class_order_is_the_published_one() -> None:
    assert " ".join(SPECS["cifar10"].classes) == "airplane automobile bird cat deer dog frog horse ship truck"
    assert " ".join(SPECS["stl10"].classes) == "airplane bird car cat deer dog horse monkey ship truck"
    assert "".join(SPECS["svhn"].classes) == "".join(SPECS["digits"].classes) == "0123456789"


def test_the_file_of_a_data_set_has_its_name() -> None:
    assert {module.__name__.rpartition(".")[2] for module in MODULES.values()} == set(SPECS)


@pytest.mark.parametrize(("typed", "meant"), [("cifar-10", "cifar10"), ("SVHN", "svhn"), ("digit", "digits")])
def test_unknown_name_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
        find_spec(typed)


def test_unknown_name_lists_all() -> None:
    with pytest.raises(InputError, match=r"digits, cifar10, svhn, stl10, imagenet"):
        find_spec("places365")


def test_impossible_augmentation_is_refused() -> None:
    with pytest.raises(InputError, match="-1"):
        Augmentation(pad=-1, padding="zeros", flip=False)
    with pytest.raises(InputError, match="'mirror'"):
        Augmentation(pad=1, padding="mirror", flip=False)  # type: ignore[arg-type]


def test_specs_are_read_without_heavy_imports() -> None:
    heavy = "{'torch', 'torchvision', 'sklearn', 'scipy', 'pyarrow'}"
    code = f"import sys, locallearn.datasets, locallearn.datasets.registry; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
