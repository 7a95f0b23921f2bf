"""Train a partitioned network: one call fills `.grad`, window by window."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from locallearn.abstract_method import Context, Method, sites
from locallearn.compatibility import (
    check_containers,
    check_layout,
    check_parts,
    check_windows,
    containers,
    single_samples_explained,
    warn_of_back_propagation,
)
from locallearn.engine.batch_counters import counting_together
from locallearn.engine.grouped_heads import equal_runs
from locallearn.engine.local_step import LocalStep
from locallearn.engine.moving_averages import MovingAverages
from locallearn.engine.regional_compile import compiled_blocks, keeping_compiled_graphs, room_for_kinds
from locallearn.engine.segments import segments
from locallearn.engine.step_listener import NOBODY, StepListener
from locallearn.errors import InputError
from locallearn.execution import PLAIN, Execution
from locallearn.objective import Batch, LocalObjective, LocalOutput, Normalization, OutputLoss
from locallearn.partitioning import Partition
from locallearn.partitioning.block import State, activation
from locallearn.tasks import Task


class LocalModel(nn.Module):
    """A partitioned network with the objectives of a method.

    The network stays an ordinary module: train with `local_backward` and any optimizer over `parameters()`, then use or
    save `network` as if nothing had happened.

    Args:
        partition: The network cut into blocks.
        method: How the blocks are trained.
        task: What the network is trained for.
        normalization: Mean and standard deviation per channel that the inputs are normalised with; needed by methods
            that restore the image, unless the inputs are images in [0, 1].
        execution: What a step keeps, computes again or joins.

    Raises:
        InputError: The method's windows do not fit the partition, or an objective cannot be built.

    Example:
        >>> import locallearn as ll
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> blocks = ll.partition(network, torch.zeros(2, 4), num_blocks=2)
        >>> model = LocalModel(blocks, ll.DGL(), ll.Classification(2))
        >>> outputs = model.local_backward(torch.randn(8, 4), torch.randint(2, (8,)))
        >>> len(outputs)
        2
    """

    def __init__(
        self,
        partition: Partition,
        method: Method,
        task: Task,
        *,
        normalization: Normalization | None = None,
        execution: Execution = PLAIN,
    ) -> None:
        super().__init__()
        check_parts(partition, method, task)
        self.network = partition.network
        self.partition = partition
        self.method = method
        self.task = task
        self.normalization = normalization
        self.execution = execution
        self.windows = tuple(method.windows(partition))
        check_windows(self.windows, len(partition.blocks))
        warn_of_back_propagation(self.windows, partition, method)
        self.objectives = nn.ModuleList(self._build_objectives())
        self.runs: list[Callable[[State], State]] = list(partition.blocks)
        if execution.compile:
            self.runs = compiled_blocks(partition.blocks)
            for index in range(len(self.windows)):
                for module in self._objective(index).auxiliary_networks():
                    module.compile(dynamic=False)
        if execution.recompute != "nothing":
            for index in range(len(self.windows)):
                self._objective(index).recompute_branches()
        self.cut_at(())
        self._range_checked = False
        self._containers = containers(partition)
        self.averages = MovingAverages(self.network, {i: self._objective(i) for i in range(len(self.windows))})
        self.register_load_state_dict_post_hook(_averages_are_new)
        self.active_window: int | None = None
        self.gather: Callable[[Tensor], Tensor] | None = None
        self._compares_samples = any(isinstance(module, nn.BatchNorm1d) for module in self.objectives.modules())
        self.training = self.network.training
        self.objectives.train(self.training)

    def _build_objectives(self) -> list[LocalObjective]:
        partition = self.partition
        context = Context(partition, self.task)
        places = iter(sites(self.windows, partition))
        objectives: list[LocalObjective] = []
        if any(window.stop < len(partition.blocks) for window in self.windows):
            check_layout(partition.units)
        for window in self.windows:
            if window.stop == len(partition.blocks):
                objectives.append(OutputLoss(self.task, self.network))
                continue
            objective = self.method.objective(window, next(places), context)
            if not isinstance(objective, LocalObjective):
                raise InputError(f"{self.method} gave {objective!r} for {window}, not a locallearn.LocalObjective.")
            objectives.append(objective)
        like = next(self.network.parameters(), None)
        for objective in objectives:
            if like is not None and any(
                (p.device, p.dtype) != (like.device, like.dtype) for p in objective.parameters()
            ):
                objective.to(like.device, like.dtype)
        return objectives

    def _grouped(self, borders: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """For the last window of each run of equal heads all of the run's; for the others, which wait for it, none."""
        alone = {segment.windows[0] for segment in self.segments if len(segment.windows) == 1}
        shapes = [self.partition.infos[window.stop - 1].out_shape for window in self.windows]
        keys = [objective if index in alone else None for index, objective in enumerate(self.objectives)]
        runs = [
            tuple(members)
            for run in equal_runs(cast(list[LocalObjective | None], keys), shapes)
            for _, members in groupby(run, key=lambda index: bisect_left(borders, self.windows[index].stop))
        ]
        return {index: run if index == run[-1] else () for run in runs for index in run}

    def forward(self, inputs: Tensor) -> Any:
        """The network itself, without auxiliary networks.

        Args:
            inputs: `(N, ...)`.

        Returns:
            What the network returns.
        """
        return self.network(inputs)

    def local_backward(
        self,
        inputs: Any,
        targets: Any,
        *,
        keep_logits: bool = False,
        scales: Sequence[float | Tensor] | None = None,
        listener: StepListener = NOBODY,
    ) -> list[LocalOutput]:
        """Add every window's gradients to `.grad`; each graph is freed before the next window's is built.

        Args:
            inputs: `(N, ...)`, as the network reads them; for a detector a list of images.
            targets: What the network should say, as the task has it; `(N,)` class indices for classification.
            keep_logits: Whether the outputs hold what the local heads predict.
            scales: A factor for each window's gradients, for accumulation or loss scaling; reported losses are without.
            listener: Told of every block, objective and window as the step comes to it.

        Returns:
            One output for each window, detached.

        Raises:
            InputError: Targets do not fit the task, `scales` has not one entry for each window, images leave their
                range, BatchNorm is given a single value, or `after_step` was forgotten.
        """
        self.task.check_targets(targets, len(inputs))
        inputs, targets = self.task.enter(self.network, inputs, targets)
        self.check_size(len(inputs))
        options: dict[str, Any] = {"scales": scales, "keep_logits": keep_logits, "listener": listener}
        with single_samples_explained(len(inputs)), self.stepping(self.batch(inputs, targets), **options) as step:
            step.run(inputs, self.segments)
        return [step.outputs[index] for index in range(len(self.windows))]

    def batch(self, inputs: Tensor | None, targets: Any) -> Batch:
        """A batch as this model's objectives see it.

        Args:
            inputs: What the network reads; None where no objective needs it.
            targets: As the task has them.

        Returns:
            The batch, whose images' range is looked at on a CPU always and elsewhere the first time.
        """
        cheap = inputs is None or inputs.device.type == "cpu"
        check_range = (cheap or not self._range_checked) and not isinstance(inputs, FakeTensor)
        self._range_checked = self._range_checked or (check_range and not cheap)
        return Batch(inputs, targets, self.normalization, check_range=check_range, gather=self.gather)

    def check_size(self, samples: int) -> None:
        """Refuse a batch that local heads cannot learn from.

        Args:
            samples: How many there are.

        Raises:
            InputError: There is one alone, and a head has BatchNorm.
        """
        if samples == 1 and self._compares_samples and self.training:
            raise InputError(
                "Local heads with BatchNorm cannot learn from a batch of one sample; leave such a batch out, for "
                "instance with DataLoader(..., drop_last=True)."
            )

    @contextmanager
    def stepping(
        self,
        batch: Batch,
        *,
        scales: Sequence[float | Tensor] | None = None,
        keep_logits: bool = False,
        listener: StepListener = NOBODY,
    ) -> Iterator[LocalStep]:
        """What surrounds one step, for those who run its segments themselves; see `local_backward`.

        Args:
            batch: Of this step.
            scales: A factor for each window's gradients.
            keep_logits: Whether the outputs hold what the local heads predict.
            listener: Told how far the step has come.

        Yields:
            LocalStep: Runs segments.

        Raises:
            InputError: `scales` has not one entry for each window, or `after_step` was forgotten.
        """
        if scales is not None and len(scales) != len(self.windows):
            raise InputError(f"scales needs one entry for each of the {len(self.windows)} windows, not {len(scales)}.")
        check_containers(self.network, self._containers)
        self.averages.begin()
        overlapping = any(len(segment.windows) > 1 for segment in self.segments)
        kept = keeping_compiled_graphs() if overlapping else nullcontext()
        room = room_for_kinds() if self.execution.compile else nullcontext()
        counting = counting_together(self) if self.execution.count_batches == "together" else nullcontext()
        with torch.enable_grad(), kept, room, counting:
            yield LocalStep(self, batch, scales=scales, keep_logits=keep_logits, listener=listener)
        self.averages.end()

    def cut_at(self, borders: Sequence[int]) -> None:
        """Let segments, and heads that run together, end at some borders between blocks as well.

        Args:
            borders: Each the index of the first block behind it.
        """
        self.segments = segments(self.windows, borders)
        self._groups = self._grouped(borders) if self.execution.group_heads else {}

    def scored_with(self, index: int) -> tuple[int, ...]:
        """The windows that are scored once a window's features are there.

        Args:
            index: The window.

        Returns:
            Itself; or with it those before it whose heads are equal; or none, where it waits for a later one.
        """
        return self._groups.get(index, (index,))

    def after_step(self) -> None:
        """Update the moving averages; call after every `optimizer.step()`. Does nothing for methods that have none."""
        self.averages.after_step()

    def _objective(self, index: int) -> LocalObjective:
        return cast(LocalObjective, self.objectives[index])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by what they belong to, for optimizers with several rates.

        Returns:
            `"blocks"`: the network's own; `"auxiliary"`: the objectives'; `"cascades"`: those of cascade windows.
        """
        groups: dict[str, list[nn.Parameter]] = {
            "blocks": list(self.network.parameters()),
            "auxiliary": [],
            "cascades": [],
        }
        for window, objective in zip(self.windows, self.objectives, strict=True):
            groups["cascades" if window.role == "cascade" else "auxiliary"] += objective.parameters()
        return groups

    def block_parameters(self, index: int) -> list[nn.Parameter]:
        """The network's parameters that a block uses; with the last block those outside of the body that was cut.

        Args:
            index: The block, counted from 0.

        Returns:
            Each parameter once.
        """
        own = self.partition.blocks[index].parameters_used()
        if index < len(self.partition.blocks) - 1 or not self.partition.body:
            return own
        elsewhere = {p for block in self.partition.blocks for p in block.parameters_used()}
        return own + [p for p in self.network.parameters() if p not in elsewhere]

    def window_parameters(self, index: int) -> list[nn.Parameter]:
        """All parameters a window trains: its blocks' and its objective's.

        Args:
            index: The window, counted from 0.

        Returns:
            Each parameter once.
        """
        window = self.windows[index]
        own = [p for block in range(window.start, window.stop) for p in self.block_parameters(block)]
        return [*own, *self.objectives[index].parameters()]

    def settled_parameters(self) -> list[list[nn.Parameter]]:
        """The parameters whose gradients are complete once a window is done, window by window in their order.

        Returns:
            For each window its objective's and its blocks' that no later window trains; each parameter once.
        """
        last_use = {p: index for index in range(len(self.windows)) for p in self.window_parameters(index)}
        return [[p for p, last in last_use.items() if last == index] for index in range(len(self.windows))]

    @torch.no_grad()
    def features(self, inputs: Tensor) -> list[Any]:
        """The output of every block; the last is the network's own output, or its body's where that alone was cut.

        Args:
            inputs: `(N, ...)`, as the first block reads them.

        Returns:
            One tensor for each block, without graph; of the last block all that it returns.
        """
        found: list[Any] = []
        state: State = inputs
        for block in self.partition.blocks:
            state = block(state)
            found.append(activation(state))
        return [*found[:-1], state]


def _averages_are_new(model: nn.Module, _: object) -> None:
    cast(LocalModel, model).averages.forget()
