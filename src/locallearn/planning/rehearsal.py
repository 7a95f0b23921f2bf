"""Training steps of one network on fake tensors, by any method, cut and batch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree
from typing_extensions import override

from locallearn.abstract_method import Method
from locallearn.engine.step_listener import StepListener
from locallearn.errors import InputError
from locallearn.execution import PLAIN, Execution
from locallearn.local_model import LocalModel
from locallearn.methods import Backprop
from locallearn.objective import Normalization
from locallearn.partitioning import Partition, partition
from locallearn.partitioning.partition import recut, unit_bytes
from locallearn.planning.fake_network import fake_network
from locallearn.planning.step_meter import BATCH, GRADIENTS, Measurement, StepMeter, measure
from locallearn.planning.steps import LocalStep, PlainStep, Step
from locallearn.tasks import Classification, Segmentation, Task


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All of a training step but the network and its cuts.

    Args:
        method: How the blocks are trained.
        batch_size: Inputs in a step.
        execution: How the step is carried out; compiled modules are counted as if they were not.
        precision: Arithmetic of the forward passes.
        optimizer: What updates the weights.
        normalization: See `LocalModel`.
        step_in_backward: Whether the optimizer steps block by block, see `StepInBackward`.
    """

    method: Method
    batch_size: int
    execution: Execution = PLAIN
    precision: Literal["fp32", "bf16"] = "fp32"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    normalization: Normalization | None = None
    step_in_backward: bool = False


class StepParts(StepListener):
    """Tells the meter which part is running: the blocks up to an end of windows, and the windows that end there.

    Args:
        model: Whose steps are counted; its parts end at `ends(model)`.
        meter: What counts.
    """

    def __init__(self, model: LocalModel, meter: StepMeter) -> None:
        self._model, self._meter = model, meter
        self._ends = ends(model)

    @override
    def before_block(self, index: int) -> None:
        self._meter.part = bisect_right(self._ends, index)

    @override
    def before_objective(self, index: int) -> None:
        self._meter.part = self._ends.index(self._model.windows[index].stop)

    @override
    def before_backward(self, index: int) -> None:
        self._meter.part = self._ends.index(self._model.windows[index].stop)

    @override
    def after_window(self, index: int) -> None:
        if index == len(self._model.windows) - 1:
            self._meter.part = None


def ends(model: LocalModel) -> list[int]:
    """Where the parts of a model's step end.

    Args:
        model: Any model.

    Returns:
        One past the last block of each part, in order.
    """
    return sorted({window.stop for window in model.windows})


def segments(units: int) -> int:
    """How many checkpoints suit a network, balanced by memory: 1.6 times the root, the best for ResNet-110 by trial.

    Args:
        units: How many units the network has.

    Returns:
        Segments.
    """
    return max(1, min(units, round(1.6 * math.sqrt(units))))


class Rehearsal:
    """Runs steps of one network on fake tensors and counts them; the network is traced once.

    Args:
        network: A module, which is left as it is, or a function that builds one.
        input_shape: Shape of one input.
        task: What the network is trained for; None: segmentation where the network gives maps, else classification,
            with as many classes as it has outputs.
        device: Where the fake tensors pretend to be.
        channels_last: Whether images lie channels-last in memory.

    Raises:
        InputError: The network cannot be cut, or is a detector and no task is given.
    """

    def __init__(
        self,
        network: nn.Module | Callable[[], nn.Module],
        input_shape: Sequence[int],
        task: Task | None,
        *,
        device: torch.device,
        channels_last: bool = False,
    ) -> None:
        self._mode = FakeTensorMode()
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.device = device
        self.network = fake_network(network, self._mode, device=device, layout=self._layout)
        self.input_shape = tuple(input_shape)
        with self._mode:
            self._example = torch.empty(2, *input_shape, device=device)
            self.whole = partition(self.network, self._example, num_blocks=1)
            self.task = _task(self.whole) if task is None else task

    def cut(
        self, num_blocks: int | None, balance: Literal["depth", "memory", "flops"], preset: str | None,
        split_points: Sequence[str] | None,
    ) -> Partition:  # fmt: skip
        """Cut the network as `partition` does.

        Args:
            num_blocks: K; None for one block for each unit, unless `split_points` are given.
            balance: What the blocks share evenly.
            preset: Whose published cuts.
            split_points: Modules after which to cut.

        Returns:
            The partition.

        Raises:
            InputError: The network cannot be cut so.
        """
        count = len(self.whole.units)
        if preset is None and split_points is None and num_blocks in (None, count):
            return self.cut_at([1] * count)
        with self._mode:
            return partition(
                self.network,
                self._example,
                num_blocks=num_blocks,
                balance=balance,
                preset=preset,
                split_points=split_points,
            )

    def cut_at(self, sizes: Sequence[int]) -> Partition:
        """Cut the network into blocks of so many units.

        Args:
            sizes: Units of each block.

        Returns:
            The partition.
        """
        with self._mode:
            return recut(self.whole, self._example, sizes)

    def unit_bytes(self, batch_size: int) -> list[float]:
        """What every unit keeps for its backward pass.

        Args:
            batch_size: Inputs in a step.

        Returns:
            Bytes for each unit, in fp32.
        """
        with self._mode:
            return [size * batch_size / 2 for size in unit_bytes(self.whole, self._example)]

    def smallest_batch(self) -> int:
        """The smallest batch that a step can train on.

        Returns:
            2 where batch statistics are needed, else 1.
        """
        return 2 if any(isinstance(module, _BatchNorm) for module in self.network.modules()) else 1

    def local(self, blocks: Partition, setting: Setting) -> tuple[LocalStep, Measurement]:
        """A step of local learning.

        Args:
            blocks: The network cut into blocks.
            setting: All the rest.

        Returns:
            The step with the optimizer's state, and what it holds and computes, by parts that end at `ends(model)`.

        Raises:
            InputError: The method does not suit the partition.
        """
        execution = replace(setting.execution, compile=False)
        with self._mode:
            model = LocalModel(
                blocks, setting.method, self.task, normalization=setting.normalization, execution=execution
            )
            step = LocalStep(
                model, optimizer=setting.optimizer, precision=setting.precision,
                step_in_backward=setting.step_in_backward,
            )  # fmt: skip

            def listened(inputs: Tensor, targets: Tensor, meter: StepMeter) -> None:
                step.listener = StepParts(model, meter)
                step(inputs, targets)

            return step, self._measured(step, setting, listened)

    def backprop(self, setting: Setting) -> Measurement:
        """A step of plain PyTorch.

        Args:
            setting: Batch, precision and optimizer.

        Returns:
            What it holds and computes.
        """
        with self._mode:
            step = self._plain(setting)
            return self._measured(step, setting, lambda inputs, targets, _: step(inputs, targets))

    def accumulation(self, setting: Setting, micro_batches: int) -> Measurement:
        """The part of a step of plain PyTorch that holds most where gradients of several micro-batches are added up.

        Args:
            setting: Batch, precision and optimizer.
            micro_batches: How many.

        Returns:
            What a micro-batch of the largest size holds, with the gradients of others there already.
        """
        with self._mode:
            step = self._plain(setting, micro_batches=micro_batches, most=1)

            def later(inputs: Tensor, targets: Tensor, meter: StepMeter) -> None:
                for parameter in self.network.parameters():
                    if parameter.requires_grad:
                        parameter.grad = torch.zeros_like(parameter)
                        meter.label(GRADIENTS, [parameter.grad])
                step(inputs, targets)

            return self._measured(step, setting, later)

    def _plain(self, setting: Setting, **parts: Any) -> PlainStep:
        loss = partial(self.task.output_loss, self.network)
        return PlainStep(self.network, loss, optimizer=setting.optimizer, precision=setting.precision, **parts)

    def checkpointing(self, setting: Setting) -> Measurement:
        """A step of back-propagation that keeps the inputs of some units and computes the rest again.

        Args:
            setting: Batch, precision and optimizer.

        Returns:
            What it holds and computes; of checkpoints at every unit and at few, the one that holds less.
        """
        units = len(self.whole.units)
        cuts = [self.cut_at([1] * units), self.cut(segments(units), "memory", None, None)]
        recomputing = replace(
            setting, method=Backprop(), execution=Execution(recompute="blocks"), step_in_backward=False
        )
        found = [self.local(pieces, recomputing)[1] for pieces in cuts]
        return min(found, key=lambda measured: measured.peak.total)

    def _measured(self, step: Step, setting: Setting, run: Callable[[Tensor, Tensor, StepMeter], None]) -> Measurement:
        shape = (setting.batch_size, *self.input_shape)

        def whole(meter: StepMeter) -> None:
            inputs = torch.empty(shape, device=self.device, memory_format=self._layout)
            targets = self.task.blank_targets(inputs)
            tensors = [item for item in pytree.tree_leaves((inputs, targets)) if isinstance(item, Tensor)]
            meter.label(BATCH, tensors)
            run(inputs, targets, meter)

        return measure(whole, step.module, step.optimizer)


def _task(whole: Partition) -> Task:
    if whole.body:
        raise InputError(
            f"{type(whole.network).__name__} is a detector, whose losses hold and compute what the images ask for, and "
            "here there are none: plan a network that classifies or segments."
        )
    shape = whole.output_shape or (1,)
    return Segmentation(shape[0]) if len(shape) == 3 else Classification(shape[-1])
