"""Throughput and memory of a network on many workers, by schedule."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from typing_extensions import override

from locallearn.errors import InputError
from locallearn.simulation.pipeline import (
    Pass,
    Stages,
    Timeline,
    gpipe_order,
    local_timeline,
    most_alive,
    one_forward_one_backward_order,
    synchronous_timeline,
)
from locallearn.simulation.placement import placed
from locallearn.simulation.workload import BlockCost, Link, Workload


@dataclass(frozen=True)
class Prediction:
    """What is to be expected of a number of workers.

    Args:
        schedule: How they work together.
        workers: How many there are.
        replicas: Copies of the pipeline, each with its share of the batch.
        micro_batches: Parts that this share is cut into.
        blocks: For each stage of the pipeline its blocks; workers that `stages x replicas` leaves over do nothing.
        images_per_second: Of all replicas together.
        seconds_per_step: From one batch to the next, once the pipeline is full.
        bubble_fraction: Share of the time in which the pipeline's workers wait.
        bytes_per_worker: What each stage's worker holds: weights, gradients and optimizer state, activations kept for
            backward passes, and outputs that wait in queues.
    """

    schedule: str
    workers: int
    replicas: int
    micro_batches: int
    blocks: tuple[range, ...]
    images_per_second: float
    seconds_per_step: float
    bubble_fraction: float
    bytes_per_worker: tuple[float, ...]

    @property
    def most_bytes(self) -> float:
        """What the fullest worker holds."""
        return max(self.bytes_per_worker)


class Schedule(ABC):
    """How the stages of a pipeline work together."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def passes(self) -> int:
        """Parts that a batch is cut into, which pass through the pipeline one after another."""

    @abstractmethod
    def costs(self, workload: Workload) -> tuple[BlockCost, ...]:
        """What its blocks cost each time they run.

        Args:
            workload: As measured under local learning.

        Returns:
            A cost for each block.
        """

    @abstractmethod
    def timeline(self, stages: Stages, link: Link, replicas: int) -> Timeline:
        """The course of training.

        Args:
            stages: The blocks of each stage, as `costs` has them.
            link: Between workers.
            replicas: Copies of the pipeline.

        Returns:
            Long enough to be steady.
        """

    @abstractmethod
    def activation_bytes(self, stages: Stages) -> tuple[float, ...]:
        """What each stage keeps besides weights, gradients and optimizer state, at most.

        Args:
            stages: The blocks of each stage, as `costs` has them.

        Returns:
            Bytes.
        """


@dataclass(frozen=True)
class LocalLearning(Schedule):
    """Every block learns by its own objective; see `local_timeline`.

    Args:
        queue: Outputs that may be under way between two stages, and as many again that wait for their use.
        return_every: Steps between two messages of copied parameters.
    """

    name: ClassVar[str] = "local learning"
    queue: int = 2
    return_every: int = 1

    @property
    @override
    def passes(self) -> int:
        return 1

    @override
    def costs(self, workload: Workload) -> tuple[BlockCost, ...]:
        return workload.blocks

    @override
    def timeline(self, stages: Stages, link: Link, replicas: int) -> Timeline:
        steps = 2 * (len(stages) + 10)
        return local_timeline(
            stages, link, steps=steps, queue=2 * self.queue, replicas=replicas, return_every=self.return_every
        )

    @override
    def activation_bytes(self, stages: Stages) -> tuple[float, ...]:
        handed_on = [self.queue * stage[-1].output_bytes for stage in stages[:-1]]
        learning = [max(block.kept_bytes + block.auxiliary_kept_bytes for block in stage) for stage in stages]
        return tuple(map(sum, zip([0.0, *handed_on], learning, [*handed_on, 0.0], strict=True)))


@dataclass(frozen=True)
class _Synchronous(Schedule):
    """Back-propagation through all stages in micro-batches; see `synchronous_timeline`.

    Args:
        micro_batches: Parts that a batch is cut into; a part takes its share of the batch's time.
    """

    micro_batches: int = 8

    def __post_init__(self) -> None:
        if self.micro_batches < 1:
            raise InputError(f"micro_batches must be at least 1, not {self.micro_batches}.")

    @property
    @override
    def passes(self) -> int:
        return self.micro_batches

    @abstractmethod
    def order(self, stage: int, stages: int) -> list[Pass]:
        """A stage's passes in a step."""

    @override
    def costs(self, workload: Workload) -> tuple[BlockCost, ...]:
        return tuple(block.scaled(1 / self.micro_batches) for block in workload.end_to_end().blocks)

    @override
    def timeline(self, stages: Stages, link: Link, replicas: int) -> Timeline:
        orders = [self.order(stage, len(stages)) for stage in range(len(stages))]
        return synchronous_timeline(stages, link, orders, replicas=replicas)

    @override
    def activation_bytes(self, stages: Stages) -> tuple[float, ...]:
        alive = [most_alive(self.order(stage, len(stages))) for stage in range(len(stages))]
        kept = [sum(block.kept_bytes + block.auxiliary_kept_bytes for block in stage) for stage in stages]
        return tuple(count * size for count, size in zip(alive, kept, strict=True))


@dataclass(frozen=True)
class GPipe(_Synchronous):
    """All forward passes of a step, then all backward passes."""

    name: ClassVar[str] = "GPipe"

    @override
    def order(self, stage: int, stages: int) -> list[Pass]:
        return gpipe_order(self.micro_batches)


@dataclass(frozen=True)
class OneForwardOneBackward(_Synchronous):
    """Backward passes begin as soon as they can, so that few micro-batches are alive."""

    name: ClassVar[str] = "1F1B"

    @override
    def order(self, stage: int, stages: int) -> list[Pass]:
        return one_forward_one_backward_order(stage, stages, self.micro_batches)


def predicted(
    workload: Workload,
    schedules: Sequence[Schedule],
    workers: int,
    *,
    link: Link | None = None,
    stages: int | None = None,
    state_copies: float = 3.0,
    memory: float | None = None,
) -> Prediction:
    """What a network does on a number of workers.

    Workers form a pipeline of stages, blocks placed by time, and replicas of it that share the batch and average their
    gradients; of all ways to do so with two stages at least, the fastest that fits is taken. The batch stays the same,
    and with it what is learned, batch statistics apart; a replica's costs shrink with its share, down to two images in
    a pass. In truth small batches cost more than that.

    Args:
        workload: Costs of one batch.
        schedules: How stages may work together, as one schedule with several numbers of micro-batches.
        workers: How many workers.
        link: Between any two of them; None: nothing is waited for.
        stages: Stages of a pipeline, instead of choosing; 1 is data parallelism alone.
        state_copies: Numbers held for each weight: itself, its gradient, the optimizer's state (3 with momentum).
        memory: Bytes that a worker may hold; where nothing fits, what holds least is taken.

    Returns:
        The prediction.

    Raises:
        InputError: There are more stages than blocks or workers.
    """
    most = min(len(workload.blocks), workers)
    if workers < 1 or not (stages is None or 1 <= stages <= most):
        raise InputError(
            f"{workers} workers and {len(workload.blocks)} blocks make no pipeline of {stages or 1} stages: give at "
            "least one worker and one block for each stage."
        )
    depths = [stages] if stages else range(min(2, most), most + 1)
    layouts = [each for schedule in schedules for each in _layouts(workload, schedule, workers, depths)]
    best = least = None
    for layout in sorted(layouts, key=lambda each: each.least_seconds):
        if best is not None and layout.least_seconds >= best.seconds_per_step:
            break
        found = _predicted(workload, layout, workers, link or Link(), state_copies)
        if memory is None or found.most_bytes <= memory:
            best = found if best is None else min(best, found, key=lambda one: (one.seconds_per_step, one.most_bytes))
        least = found if least is None else min(least, found, key=lambda one: one.most_bytes)
    assert least is not None
    return best or least


_placed = functools.cache(placed)


class _Layout(NamedTuple):
    schedule: Schedule
    costs: tuple[BlockCost, ...]
    replicas: int
    runs: tuple[range, ...]
    least_seconds: float
    """Of a step, if no stage but the busiest mattered."""


def _layouts(workload: Workload, schedule: Schedule, workers: int, depths: Iterable[int]) -> Iterator[_Layout]:
    costs = schedule.costs(workload)
    for depth in depths:
        runs = _placed(tuple(cost.seconds for cost in costs), depth)
        busiest = max(sum(costs[block].seconds - costs[block].update for block in run) for run in runs)
        replicas = max(1, min(workers // depth, workload.batch_size // (2 * schedule.passes)))
        while replicas:  # fewer may be faster where averages take long
            yield _Layout(schedule, costs, replicas, runs, schedule.passes * busiest / replicas)
            replicas //= 2


def _predicted(workload: Workload, layout: _Layout, workers: int, link: Link, state_copies: float) -> Prediction:
    schedule, costs, replicas, runs, _ = layout
    costs = [cost.scaled(1 / replicas) for cost in costs]
    stages = [costs[run.start : run.stop] for run in runs]
    timeline = schedule.timeline(stages, link, replicas)
    state = [state_copies * sum(block.trained_bytes for block in stage) for stage in stages]
    activations = schedule.activation_bytes(stages)
    return Prediction(
        schedule=schedule.name,
        workers=workers,
        replicas=replicas,
        micro_batches=schedule.passes,
        blocks=runs,
        images_per_second=workload.batch_size / timeline.seconds_per_step,
        seconds_per_step=timeline.seconds_per_step,
        bubble_fraction=timeline.bubble_fraction,
        bytes_per_worker=tuple(map(sum, zip(state, activations, strict=True))),
    )
