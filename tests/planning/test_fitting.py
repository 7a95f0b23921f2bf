from __future__ import annotations

import pytest

import locallearn as ll
from locallearn.planning.fitting import largest_fitting, parsed_bytes, written_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 * 2**30), ("8GB", 8 * 10**9), ("500 mb", 500 * 10**6), ("1.5MiB", 3 * 2**19), (17, 17),
     ("1TiB", 2**40), ("300B", 300), ("64kib", 65536)],
)  # fmt: skip
def test_sizes_with_units(text, size):
    assert parsed_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "8 gigs", "-1GiB", "0", "8GiBs", "1e3", "0.1B"])
def test_what_is_no_size(text):
    with pytest.raises(ll.InputError, match="8GiB"):
        parsed_bytes(text)


def test_bytes_for_people():
    assert [written_bytes(size) for size in (0, 512, 3 * 2**20, 2048 * 2**20, 20 * 2**30)] == [
        "-", "0.5 KiB", "3.0 MiB", "2,048.0 MiB", "20.00 GiB"
    ]  # fmt: skip


@pytest.mark.parametrize("guess", [None, 1, 3, 31, 70, 1000])
@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("limit", [10, 11, 500, 5000, 1_000_000_000])
def test_the_largest_that_fits_is_found(limit, power, guess):
    def cost(x):
        assert 1 <= x <= 100
        return 10 * x**power

    truth = max((x for x in range(1, 101) if cost(x) <= limit), default=None)
    assert largest_fitting(cost, 1, 100, limit, guess=guess) == truth


def test_nothing_fits_and_few_tries():
    assert largest_fitting(lambda x: 10 * x, 1, 100, 9) is None
    tried = []

    def cost(x):
        tried.append(x)
        return 1000 + 7 * x

    assert largest_fitting(cost, 1, 10_000, 20_000) == 2714
    assert len(tried) <= 5
