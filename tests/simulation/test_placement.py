"""Placement against every other one."""

from __future__ import annotations

import itertools
import random

import pytest

from locallearn.errors import InputError
from locallearn.simulation.placement import placed


def loads(times, runs, speeds):
    return [sum(times[block] for block in run) / speed for run, speed in zip(runs, speeds, strict=True)]


def every_placement(count, workers):
    for cuts in itertools.combinations(range(1, count), workers - 1):
        borders = [0, *cuts, count]
        yield tuple(range(start, stop) for start, stop in itertools.pairwise(borders))


@pytest.mark.parametrize("seed", range(60))
def test_no_placement_has_a_faster_slowest_worker(seed):
    generator = random.Random(seed)
    count = generator.randint(1, 9)
    workers = generator.randint(1, count)
    times = [generator.choice([0.0, 1.0, 2.0, generator.random(), 10 * generator.random()]) for _ in range(count)]
    speeds = [generator.choice([1.0, 0.5, 0.1 + generator.random()]) for _ in range(workers)] if seed % 2 else None
    runs = placed(times, workers, speeds)
    rates = speeds or [1.0] * workers
    assert [block for run in runs for block in run] == list(range(count))
    assert len(runs) == workers and all(len(run) >= 1 for run in runs)
    others = [loads(times, other, rates) for other in every_placement(count, workers)]
    least = min(max(other) for other in others)
    assert max(loads(times, runs, rates)) == pytest.approx(least, rel=1e-9, abs=1e-12)
    squares = min(sum(x * x for x in other) for other in others if max(other) <= least * (1 + 1e-9) + 1e-12)
    assert sum(x * x for x in loads(times, runs, rates)) == pytest.approx(squares, rel=1e-9, abs=1e-12)


def test_a_slow_worker_gets_less_and_equal_blocks_are_spread_evenly():
    assert placed([1.0] * 9, 2, [2.0, 1.0]) == (range(6), range(6, 9))
    assert sorted(map(len, placed([1.0] * 16, 5))) == [3, 3, 3, 3, 4]


def test_a_deep_network_over_many_workers():
    runs = placed([1.0 + index % 3 for index in range(110)], 64)
    assert len(runs) == 64 and sum(map(len, runs)) == 110


@pytest.mark.parametrize(
    ("times", "workers", "speeds", "message"),
    [
        ([1.0, 1.0], 3, None, "2 blocks are too few for 3 workers"),
        ([1.0], 0, None, "workers must be"),
        ([1.0, 2.0], 2, [1.0], "1 speeds"),
        ([1.0, float("nan")], 1, None, "not nan"),
        ([1.0, -1.0], 1, None, "not -1.0"),
        ([1.0, 1.0], 2, [1.0, 0.0], "not 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(times, workers, speeds, message):
    with pytest.raises(InputError, match=message):
        placed(times, workers, speeds)
