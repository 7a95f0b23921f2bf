"""Throughput and memory of many workers."""

from __future__ import annotations

import pytest

from locallearn.errors import InputError
from locallearn.simulation.prediction import GPipe, LocalLearning, OneForwardOneBackward, predicted
from locallearn.simulation.workload import BlockCost, Link, Workload

COST = BlockCost(1, 2, 0.6, output_bytes=10, kept_bytes=80, parameter_bytes=4, auxiliary_kept_bytes=8)
WORKLOAD = Workload((COST,) * 8, 128)
UNEVEN = Workload(tuple(COST.scaled(1 + place % 3) for place in range(8)), 128)
LINK = Link(bandwidth=40.0, latency=0.01)


@pytest.mark.parametrize("schedule", [LocalLearning(), GPipe(8), OneForwardOneBackward(8)])
def test_from_two_to_a_thousand_workers(schedule):
    counts = [2, 3, 4, 8, 16, 64, 101, 256, 1024]
    found = [predicted(WORKLOAD, [schedule], count, link=LINK) for count in counts]
    speeds = [each.images_per_second for each in found]
    assert speeds == sorted(speeds)
    for count, each in zip(counts, found, strict=True):
        assert each.workers == count >= len(each.blocks) * each.replicas
        assert 2 <= len(each.blocks) <= 8 and each.replicas * each.micro_batches * 2 <= 128
        assert 0 <= each.bubble_fraction < 1


def test_equal_blocks_without_transfers_by_hand():
    found = predicted(WORKLOAD, [LocalLearning()], 4)
    assert found.seconds_per_step == pytest.approx(2 * 3.6) and found.bubble_fraction == pytest.approx(0)
    assert found.images_per_second == pytest.approx(128 / 7.2)
    pipeline = predicted(WORKLOAD, [OneForwardOneBackward(4)], 4, stages=4)
    assert pipeline.blocks == (range(2), range(2, 4), range(4, 6), range(6, 8))
    # The task's loss makes the last stage the slowest: its four passes, and the other three stages before and after.
    assert pipeline.seconds_per_step == pytest.approx(6.6 + 3 * 6 / 4)


def test_memory_by_hand():
    local = predicted(WORKLOAD, [LocalLearning(queue=3)], 4, stages=4, state_copies=3)
    assert local.bytes_per_worker == (24 + 88 + 30, *[24 + 88 + 60] * 2, 24 + 88 + 30)
    gpipe = predicted(WORKLOAD, [GPipe(8)], 4, stages=4)
    assert gpipe.bytes_per_worker == (24 + 160, 24 + 160, 24 + 160, 24 + 168)
    alive = predicted(WORKLOAD, [OneForwardOneBackward(8)], 4, stages=4)
    assert alive.bytes_per_worker == (24 + 80, 24 + 60, 24 + 40, 24 + 21)
    narrowing = Workload(tuple(BlockCost(1, 2, 0, 40 >> place, 0, 0) for place in range(4)), 128)
    assert predicted(narrowing, [LocalLearning(queue=1)], 4, stages=4).bytes_per_worker == (40, 60, 30, 10)
    shared = predicted(WORKLOAD, [LocalLearning(queue=3)], 8, stages=4)
    assert shared.replicas == 2 and shared.bytes_per_worker == (24 + 44 + 15, *[24 + 44 + 30] * 2, 24 + 44 + 15)


def test_1f1b_is_as_fast_as_gpipe_and_holds_less():
    equal = Workload((*WORKLOAD.blocks[:-1], BlockCost(1, 2, 0, 10, 80, 4)), 128)
    one, other = (predicted(equal, [kind(8)], 4, stages=4) for kind in (GPipe, OneForwardOneBackward))
    assert one.images_per_second == pytest.approx(other.images_per_second)
    assert other.most_bytes < 0.6 * one.most_bytes


@pytest.mark.parametrize("workers", [5, 24, 300])
@pytest.mark.parametrize("memory", [None, 90.0, 60.0])
def test_the_fastest_that_fits_is_the_fastest_of_all_that_fit(workers, memory):
    kinds = [GPipe(4), OneForwardOneBackward(2), OneForwardOneBackward(16)]
    for schedules in ([LocalLearning()], kinds):
        chosen = predicted(UNEVEN, schedules, workers, link=LINK, memory=memory)
        every = [
            predicted(UNEVEN, [schedule], workers, link=LINK, stages=stages)
            for schedule in schedules
            for stages in range(2, min(8, workers) + 1)
        ]
        fitting = [each for each in every if memory is None or each.most_bytes <= memory]
        if fitting:
            assert chosen.images_per_second == max(each.images_per_second for each in fitting)
        else:
            assert chosen.most_bytes == min(each.most_bytes for each in every)


def test_data_parallelism_alone_and_a_single_block():
    whole = predicted(WORKLOAD, [OneForwardOneBackward(1)], 64, stages=1, link=Link(40.0, 0.001))
    assert (whole.replicas, len(whole.blocks)) == (64, 1)
    # A block's backward pass takes 2/64 s and its average longer, so that only the first average waits for one.
    forward, first = 8 / 64, (0.6 + 2) / 64
    average = 2 * 63 / 64 * 4 / 40 + 2 * 6 * 0.001
    assert average > 2 / 64
    assert whole.seconds_per_step == pytest.approx(forward + first + 8 * average)
    single = predicted(Workload((COST,), 128), [LocalLearning()], 4)
    assert (single.replicas, len(single.blocks)) == (4, 1)


def test_replicas_that_only_cost_are_left_out():
    slow = Link(bandwidth=1.0, latency=1.0)
    assert predicted(WORKLOAD, [LocalLearning()], 1024, link=slow).replicas == 2


def test_what_cannot_be_shared_out_is_refused():
    with pytest.raises(InputError, match="9 stages"):
        predicted(WORKLOAD, [LocalLearning()], 16, stages=9)
    with pytest.raises(InputError, match="4 stages"):
        predicted(WORKLOAD, [LocalLearning()], 2, stages=4)
    with pytest.raises(InputError, match="0 workers"):
        predicted(WORKLOAD, [LocalLearning()], 0)
    with pytest.raises(InputError, match="micro_batches"):
        GPipe(0)
