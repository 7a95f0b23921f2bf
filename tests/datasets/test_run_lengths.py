from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locallearn.datasets.run_lengths import covers

mask: Any = pytest.importorskip("pycocotools.mask")


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (300, 400)])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 1])
def test_what_pycocotools_writes_covers_its_own_size_only(size: tuple[int, int], share: float) -> None:
    painted = np.random.RandomState(0).random_sample(size) < share
    text = mask.encode(np.asfortranarray(painted.astype(np.uint8)))["counts"].decode()
    pixels = size[0] * size[1]
    assert covers(text, pixels)
    assert not covers(text, pixels - 1) and not covers(text, pixels + 1)


@pytest.mark.parametrize(
    ("counts", "right"),
    [([0, 6], True), ([6], True), ([2, 1, 3], True), ([2, 1], False), ([8, -2], False), ([5.5, 0.5], False)],
)
def test_lists(counts: list[Any], right: bool) -> None:
    assert covers(counts, 6) == right


@pytest.mark.parametrize("text", ["", "P", "Ppppppppp0", "\u00e9", "#1", "6PPP"])
def test_strings_that_are_none(text: str) -> None:
    assert not covers(text, 6)


@pytest.mark.parametrize("counts", [None, 6, {"a": 1}, [None], ["6"], [True, 5]])
def test_other_things_are_no_run_lengths(counts: Any) -> None:
    assert not covers(counts, 6)
