"""CKA of all samples at once, tile by tile."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from analysis.test_cka import cka_by, hsic_by_features, model_of, plain_hsic, related
from locallearn.analysis.cka import similarity
from locallearn.analysis.exact_cka import ExactCKA, exact_similarity
from locallearn.errors import InputError
from small_networks import stack


def exact(rows, columns, sizes):
    """By tiles of parts of these sizes."""
    gathered = ExactCKA(sum(sizes))
    ends = list(itertools.accumulate(sizes, initial=0))
    parts = [slice(*ends[index : index + 2]) for index in range(len(sizes))]
    for one, other in itertools.combinations_with_replacement(parts, 2):
        places = [one] if one == other else [one, other]
        sides = [[torch.cat([each[place] for place in places]) for each in side] for side in (rows, columns)]
        gathered.add(one, other, *sides)
    return gathered.value()


@pytest.mark.parametrize("sizes", [(12,), (6, 6), (5, 4, 3), (1, 11)])
def test_tiles_of_any_size_give_the_value_of_all_samples(sizes):
    x, y = related(12, 3)
    found = exact([x, y], [y, x * 2 - 7], sizes)
    across = cka_by(plain_hsic, x, y)
    assert found.tolist() == [pytest.approx([across, 1.0], abs=1e-9), pytest.approx([1.0, across], abs=1e-9)]


def test_of_many_samples_it_is_that_of_products_of_features_also_far_from_zero():
    x, y = related(300, 5, torch.float32)
    found = exact([x + 100], [y - 50], (128, 128, 44)).item()
    assert found == pytest.approx(cka_by(hsic_by_features, x, y), abs=1e-6)


def test_features_that_say_the_same_of_all_samples_have_no_value():
    x, _ = related(8, 1)
    assert math.isnan(exact([torch.full((8, 3), 0.1)], [x], (5, 3)).item())


def test_networks_are_compared_as_in_one_batch_of_all():
    torch.manual_seed(0)
    one, other = (model_of(stack([4, 6, 8], dtype=torch.float32)) for _ in range(2))
    images = torch.randn(20, 3, 8, 8)
    found = exact_similarity(one, other, images.split(7))
    whole = similarity(one, other, [(images, None)])
    for row, expected in zip(found.matrix, whole.matrix, strict=True):
        assert row == pytest.approx(expected, abs=1e-6)
    called = []
    exact_similarity(one, other, images.split(7), piece=lambda: called.append(1))
    assert len(called) == 6


def test_too_few_samples_are_refused():
    with pytest.raises(InputError, match="4 samples at least, not 3"):
        ExactCKA(3)
