"""When each stage of a pipeline is done with each step; times are computed, nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from locallearn.errors import InputError
from locallearn.simulation.workload import BlockCost, Link

Stages = Sequence[Sequence[BlockCost]]
Pass = tuple[bool, int]
"""Whether it is a forward pass, and of which micro-batch."""


@dataclass(frozen=True)
class Timeline:
    """A course of training, in seconds from its start.

    Args:
        starts: For each step when each stage began with it.
        ends: For each step when each stage was done with it.
        busy: Seconds that each stage computes in one step.
    """

    starts: tuple[tuple[float, ...], ...]
    ends: tuple[tuple[float, ...], ...]
    busy: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The whole course."""
        return max(self.ends[-1])

    @property
    def seconds_per_step(self) -> float:
        """A step once the pipeline is full: the mean over the last third."""
        done = [0.0, *map(max, self.ends)]
        first = len(self.ends) * 2 // 3
        return (done[-1] - done[first]) / (len(self.ends) - first)

    @property
    def bubble_fraction(self) -> float:
        """The share of their time in which stages wait, once the pipeline is full."""
        return max(0.0, 1 - sum(self.busy) / (len(self.busy) * self.seconds_per_step))


class _Lane:
    """One direction of a link: messages leave one after another and are under way together."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._free = 0.0

    def sent(self, at: float, size: float) -> float:
        """When a message that is ready at a time arrives."""
        self._free = max(self._free, at) + size / self._link.bandwidth
        return self._free + self._link.latency

    def averaged(self, at: float, size: float, replicas: int) -> float:
        """When an average whose parts are ready at a time is there."""
        self._free = max(self._free, at) + self._link.averaging(size, replicas)
        return self._free


def local_timeline(
    stages: Stages,
    link: Link,
    *,
    steps: int,
    queue: int | None = None,
    replicas: int = 1,
    return_every: int = 1,
) -> Timeline:
    """Local learning: outputs go forward while the stage learns, no gradient comes back, no step waits for the last.

    Each stage takes the next batch as soon as it is there, runs its blocks in order, each with its objective and
    backward pass, and hands the last block's output over before that block learns. A finished output waits until there
    is room in the queue, and the stage waits with it; a place is free again when the next stage takes the batch.

    Args:
        stages: The blocks of each stage, first to last.
        link: Between neighbours, and between replicas on lanes of its own.
        steps: How many batches.
        queue: Outputs that may be under way or wait between two stages; None for any number.
        replicas: Workers that hold the same stage; a block's gradients are averaged while the worker goes on, and its
            next forward pass waits for them.
        return_every: Steps between two messages of the parameters that the last objective of the stage before copies,
            and waits for (`followed_bytes`); at 1 nothing is stale.

    Returns:
        The course.

    Raises:
        InputError: The queue has no place, or a number makes no sense.
    """
    _check(stages, steps=steps, replicas=replicas, return_every=return_every, queue=1 if queue is None else queue)
    count = len(stages)
    outputs, returns, averages = ([_Lane(link) for _ in stages] for _ in range(3))
    free, returned = [0.0] * count, [0.0] * count
    averaged = [[0.0] * len(stage) for stage in stages]
    starts: list[list[float]] = []
    ends: list[list[float]] = []
    for step in range(steps):
        starts.append([0.0] * count)
        ends.append([0.0] * count)
        arrival = 0.0
        for index, stage in enumerate(stages):
            clock = starts[step][index] = max(free[index], arrival)
            for place, block in enumerate(stage):
                clock = max(clock, averaged[index][place]) + block.forward
                if place == len(stage) - 1 and index < count - 1:
                    if queue is not None and step >= queue:
                        clock = max(clock, starts[step - queue][index + 1])
                    arrival = outputs[index].sent(clock, block.output_bytes)
                    clock = max(clock, returned[index])
                clock += block.auxiliary + block.backward + block.update
                if replicas > 1:
                    averaged[index][place] = averages[index].averaged(clock, block.trained_bytes, replicas)
            free[index] = ends[step][index] = clock
            followed = stages[index - 1][-1].followed_bytes if index else 0.0
            if followed and (step + 1) % return_every == 0:
                returned[index - 1] = returns[index].sent(clock, followed)
    return _timeline(starts, ends, stages, 1)


def synchronous_timeline(
    stages: Stages, link: Link, orders: Sequence[Sequence[Pass]], *, replicas: int = 1
) -> Timeline:
    """One step of back-propagation in micro-batches, which ends with an update: outputs go forward, gradients back.

    Args:
        stages: The blocks of each stage, with what one micro-batch costs.
        link: Between neighbours, and between replicas on lanes of its own.
        orders: For each stage the order of its forward and backward passes, as many of the one as of the other.
        replicas: Workers that hold the same stage; a block's gradients are averaged from its last backward pass on,
            while the stage goes on, and the stage's update waits for them.

    Returns:
        The step; the next one begins when all stages are done with it.

    Raises:
        InputError: The orders wait for each other, or a number makes no sense.
    """
    _check(stages, replicas=replicas)
    last = len(stages) - 1
    down, up, averages = ([_Lane(link) for _ in stages] for _ in range(3))
    arrivals: dict[tuple[int, Pass], float] = {(0, each): 0.0 for each in orders[0] if each[0]}
    starts: list[float | None] = [None] * len(stages)
    forwards = [sum(block.forward for block in stage) for stage in stages]
    backwards = [sum(block.auxiliary + block.backward for block in stage) for stage in stages]
    clocks, done, before = [0.0] * len(stages), [0] * len(stages), None
    while done != before:
        before = list(done)
        for index, stage in enumerate(stages):
            for forward, micro in orders[index][done[index] :]:
                arrival = arrivals.pop((index, (forward, micro)), None)
                if arrival is None:
                    break
                start = max(clocks[index], arrival)
                starts[index] = start if starts[index] is None else starts[index]
                done[index] += 1
                if forward:
                    clocks[index] = start + forwards[index]
                    sent = down[index].sent(clocks[index], stage[-1].output_bytes) if index < last else clocks[index]
                    arrivals[min(index + 1, last), (index < last, micro)] = sent
                    continue
                clocks[index] = start + backwards[index]
                if index:
                    arrivals[index - 1, (False, micro)] = up[index].sent(
                        clocks[index], stages[index - 1][-1].output_bytes
                    )
                if done[index] == len(orders[index]):
                    clocks[index] = _averaged(stage, start, averages[index], replicas)
                    clocks[index] += sum(block.update for block in stage)
    if done != [len(order) for order in orders]:
        raise InputError("The orders of the stages wait for each other: no stage can go on.")
    return _timeline([[start or 0.0 for start in starts]], [clocks], stages, len(orders[0]) // 2)


def gpipe_order(micro_batches: int) -> list[Pass]:
    """All forward passes, then all backward passes; the same on every stage.

    Args:
        micro_batches: M.

    Returns:
        The passes of a step.

    Source:
        GPipe (Y. Huang et al., NeurIPS 2019), section 2.3.
    """
    return [(True, micro) for micro in range(micro_batches)] + [(False, micro) for micro in range(micro_batches)]


def one_forward_one_backward_order(stage: int, stages: int, micro_batches: int) -> list[Pass]:
    """Some forward passes to fill the pipeline, then a backward pass after every forward pass.

    Args:
        stage: The stage, counted from 0.
        stages: S.
        micro_batches: M.

    Returns:
        The passes of a step, with at most `S - stage` micro-batches alive.

    Source:
        PipeDream-Flush (D. Narayanan et al., Memory-Efficient Pipeline-Parallel DNN Training, ICML 2021), section 3.2.
    """
    ahead = min(micro_batches, stages - 1 - stage)
    order: list[Pass] = [(True, micro) for micro in range(ahead)]
    for micro in range(micro_batches):
        if micro + ahead < micro_batches:
            order.append((True, micro + ahead))
        order.append((False, micro))
    return order


def most_alive(order: Sequence[Pass]) -> int:
    """How many micro-batches a stage keeps at a time.

    Args:
        order: Its passes in a step.

    Returns:
        The largest number of forward passes whose backward pass is still to come.
    """
    alive = most = 0
    for forward, _ in order:
        alive += 1 if forward else -1
        most = max(most, alive)
    return most


def _averaged(stage: Sequence[BlockCost], start: float, lane: _Lane, replicas: int) -> float:
    """When the last backward pass of a step, which began at a time, is done and its gradients are averaged."""
    clock = there = start
    for block in reversed(stage):
        clock += block.auxiliary + block.backward
        if replicas > 1:
            there = lane.averaged(clock, block.trained_bytes, replicas)
    return max(clock, there)


def _timeline(starts: list[list[float]], ends: list[list[float]], stages: Stages, times: int) -> Timeline:
    busy = [sum(times * (block.seconds - block.update) + block.update for block in stage) for stage in stages]
    return Timeline(tuple(map(tuple, starts)), tuple(map(tuple, ends)), tuple(busy))


def _check(stages: Stages, **counts: int) -> None:
    wrong = [f"{name} is {value}" for name, value in counts.items() if value < 1]
    if wrong or not stages or not all(stages):
        raise InputError(
            f"A pipeline needs stages of at least one block, and numbers of at least 1: {', '.join(wrong) or stages}."
        )
