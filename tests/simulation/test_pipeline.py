"""Timelines against hand-made ones, a simulation of single events, and closed forms."""

from __future__ import annotations

import random

import pytest

from locallearn.errors import InputError
from locallearn.simulation.closed_form import pipeline_bubble
from locallearn.simulation.pipeline import (
    gpipe_order,
    local_timeline,
    most_alive,
    one_forward_one_backward_order,
    synchronous_timeline,
)
from locallearn.simulation.workload import BlockCost, Link
from simulation.slow_pipeline import local_ends, synchronous_ends

LINK = Link(bandwidth=1.0, latency=0.5)
FIRST = BlockCost(forward=1, backward=1, auxiliary=1, output_bytes=2, kept_bytes=0, parameter_bytes=0)


def second(backward):
    return BlockCost(forward=2, backward=backward, auxiliary=0, output_bytes=0, kept_bytes=0, parameter_bytes=0)


def any_stages(generator, count):
    def cost():
        values = [generator.choice([0.5, 1.0, 3 * generator.random()]) for _ in range(3)]
        size = generator.choice([0.0, 1.0, 4 * generator.random()])
        return BlockCost(
            *values, size, 0, generator.random(), update=generator.choice([0.0, 0.25]),
            followed_bytes=generator.choice([0.0, 2.0]),
        )  # fmt: skip

    return [[cost() for _ in range(generator.randint(1, 3))] for _ in range(count)]


def equal_stages(count, forward=1.0, backward=2.0, **more):
    return [[BlockCost(forward, backward, 0, more.pop("output_bytes", 0), 0, 0, **more)] for _ in range(count)]


def orders_of(name, stages, micro_batches):
    if name == "gpipe":
        return [gpipe_order(micro_batches)] * stages
    return [one_forward_one_backward_order(stage, stages, micro_batches) for stage in range(stages)]


def test_two_stages_and_three_batches_by_hand():
    found = local_timeline([[FIRST], [second(1)]], LINK, steps=3, queue=1)
    assert found.starts == ((0, 3.5), (3, 6.5), (6, 9.5))
    assert found.ends == ((3, 6.5), (6, 9.5), (9, 12.5))
    assert (found.seconds, found.seconds_per_step, found.bubble_fraction) == (12.5, 3, 0)


def test_a_full_queue_holds_the_stage_before_back_by_hand():
    found = local_timeline([[FIRST], [second(8)]], LINK, steps=3, queue=1)
    assert found.ends == ((3, 13.5), (6, 23.5), (15.5, 33.5))
    free = local_timeline([[FIRST], [second(8)]], LINK, steps=3, queue=None)
    assert free.ends == ((3, 13.5), (6, 23.5), (9, 33.5))


def test_blocks_of_a_stage_run_in_order_and_the_last_sends_before_it_learns():
    found = local_timeline([[FIRST, FIRST], [second(1)]], LINK, steps=1)
    assert found.starts[0][1] == 3 + 1 + 2 + 0.5 and found.ends[0][0] == 6


def test_the_next_forward_pass_waits_for_the_average_by_hand():
    block = BlockCost(1, 1, 1, 0, 0, parameter_bytes=4)
    found = local_timeline([[block, block]], Link(1.0), steps=2, replicas=2)
    # Each average takes 4; the first block's is there at 7, the second's at 11.
    assert found.ends == ((6,), (14,))
    alone = synchronous_timeline([[block, block]], Link(1.0), [gpipe_order(1)], replicas=2)
    assert alone.ends == ((12,),)  # 2 forward, 2 + 2 backward; averages from 4 to 8 and from 8 to 12


def test_copied_parameters_are_waited_for_by_hand():
    block = BlockCost(1, 1, 1, 0, 0, 0, followed_bytes=2)
    # The second stage is done with a batch at 1 + 3; its parameters are there 2 later, at 6, not at 3 + 1.
    found = local_timeline([[block], [block]], Link(1.0), steps=2)
    assert found.ends == ((3, 4), (8, 7))
    assert local_timeline([[block], [block]], Link(1.0), steps=2, return_every=2).ends == ((3, 4), (6, 7))
    # With free links equal stages never wait: what they need is there at that very moment.
    assert local_timeline([[block]] * 6, Link(), steps=30).bubble_fraction == pytest.approx(0)


@pytest.mark.parametrize("seed", range(40))
def test_local_learning_agrees_with_single_events(seed):
    generator = random.Random(seed)
    stages = any_stages(generator, generator.randint(1, 5))
    link = Link(generator.choice([0.3, 1.0, 5.0]), generator.choice([0.0, 0.7]))
    queue, replicas, every = generator.choice([None, 1, 2, 3]), generator.choice([1, 1, 3]), generator.randint(1, 4)
    found = local_timeline(stages, link, steps=9, queue=queue, replicas=replicas, return_every=every)
    expected = local_ends(stages, link, 9, queue, replicas, every)
    assert [list(each) for each in found.ends] == [pytest.approx(each) for each in expected]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_back_propagation_agrees_with_single_events(name, seed):
    generator = random.Random(seed)
    stages = any_stages(generator, generator.randint(1, 5))
    link = Link(generator.choice([0.3, 1.0, 5.0]), generator.choice([0.0, 0.7]))
    orders = orders_of(name, len(stages), generator.randint(1, 7))
    assert list(synchronous_timeline(stages, link, orders).ends[0]) == pytest.approx(
        synchronous_ends(stages, link, orders)
    )


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 4), (2, 1), (2, 3), (4, 4), (4, 16), (7, 3)])
@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_equal_stages_wait_for_the_published_share(name, stages, micro_batches):
    found = synchronous_timeline(equal_stages(stages), Link(), orders_of(name, stages, micro_batches))
    assert found.bubble_fraction == pytest.approx(pipeline_bubble(stages, micro_batches))
    assert found.seconds_per_step == pytest.approx(3 * (micro_batches + stages - 1))


def test_micro_batches_alive():
    assert most_alive(gpipe_order(8)) == 8
    assert [most_alive(one_forward_one_backward_order(stage, 4, 8)) for stage in range(4)] == [4, 3, 2, 1]
    assert [most_alive(one_forward_one_backward_order(stage, 4, 2)) for stage in range(4)] == [2, 2, 2, 1]
    for stage in range(5):
        order = one_forward_one_backward_order(stage, 5, 3)
        assert sorted(order) == sorted(gpipe_order(3))


def test_a_slow_link_costs_local_learning_little_and_1f1b_much():
    # Transfers take three quarters of a stage's time.
    whole = [[BlockCost(1, 2, 0, 2.25, 0, 0)] for _ in range(4)]
    parts = [[block.scaled(1 / 8) for block in stage] for stage in whole]
    orders = orders_of("1f1b", 4, 8)
    fast, slow = Link(), Link(1.0, 0.05)
    local = [local_timeline(whole, link, steps=60, queue=2).seconds_per_step for link in (fast, slow)]
    global_ = [synchronous_timeline(parts, link, orders).seconds_per_step for link in (fast, slow)]
    assert local[1] == pytest.approx(local[0])
    assert global_[1] > 1.4 * global_[0]


@pytest.mark.parametrize("seed", range(20))
def test_better_links_and_longer_queues_never_hurt(seed):
    generator = random.Random(seed)
    stages = any_stages(generator, 4)

    def local(bandwidth=1.0, latency=0.5, queue=2, replicas=1):
        return local_timeline(stages, Link(bandwidth, latency), steps=40, queue=queue, replicas=replicas).seconds

    def pipelined(bandwidth=1.0, latency=0.5, replicas=1):
        orders = orders_of("1f1b", 4, 5)
        return synchronous_timeline(stages, Link(bandwidth, latency), orders, replicas=replicas).seconds

    for seconds in (local, pipelined):
        assert seconds(bandwidth=2.0) <= seconds() <= seconds(bandwidth=0.5)
        assert seconds(latency=0.0) <= seconds() <= seconds(latency=2.0)
        assert seconds() <= seconds(replicas=2) <= seconds(replicas=9)
    assert local(queue=None) <= local(queue=5) <= local(queue=2) <= local(queue=1)
    busiest = max(sum(block.seconds for block in stage) for stage in stages)
    assert local_timeline(stages, Link(1.0, 0.5), steps=40).seconds_per_step >= busiest * (1 - 1e-9)


def test_orders_that_wait_for_each_other_are_refused():
    with pytest.raises(InputError, match="wait for each other"):
        synchronous_timeline(equal_stages(2), Link(), [[(False, 0), (True, 0)], gpipe_order(1)])


@pytest.mark.parametrize(
    ("stages", "given", "message"),
    [
        ([], {"steps": 1}, "stages"),
        ([[]], {"steps": 1}, "stages"),
        ([[FIRST]], {"steps": 0}, "steps is 0"),
        ([[FIRST]], {"steps": 1, "queue": 0}, "queue is 0"),
        ([[FIRST]], {"steps": 1, "replicas": 0, "return_every": 0}, "replicas is 0, return_every is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(stages, given, message):
    with pytest.raises(InputError, match=message):
        local_timeline(stages, Link(), **given)
