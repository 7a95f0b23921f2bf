"""The data sets there are, by name."""

from __future__ import annotations

import difflib
from types import ModuleType

from locallearn.datasets import camvid, cifar10, cityscapes, coco, digits, imagenet, shapes, stl10, svhn
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

MODULES: dict[str, ModuleType] = {
    module.SPEC.name: module for module in (digits, cifar10, svhn, stl10, imagenet, camvid, cityscapes, coco, shapes)
}
SPECS: dict[str, DatasetSpec] = {name: module.SPEC for name, module in MODULES.items()}


def find_spec(name: str) -> DatasetSpec:
    """The data set of that name.

    Args:
        name: A key of `SPECS`.

    Returns:
        Its description.

    Raises:
        InputError: There is no data set of that name.
    """
    if name in SPECS:
        return SPECS[name]
    near = difflib.get_close_matches(name.lower().replace("-", ""), SPECS, n=1)
    suggestion = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"There is no data set {name!r}.{suggestion} The data sets are {', '.join(SPECS)}.")
