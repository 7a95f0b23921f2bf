"""What a step of local learning will cost, told before anything runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from locallearn.abstract_method import Method
from locallearn.errors import InputError
from locallearn.execution import PLAIN, Execution
from locallearn.methods import DGL
from locallearn.objective import Normalization
from locallearn.partitioning import Partition
from locallearn.partitioning.split_points import names_of_ends
from locallearn.planning.budget import Budget, fewest_blocks, judged
from locallearn.planning.fitting import parsed_bytes
from locallearn.planning.lowest_peak import lowest_peak
from locallearn.planning.rehearsal import Rehearsal, Setting, ends
from locallearn.planning.rivals import Rival, rivals
from locallearn.planning.step_meter import KINDS, Measurement, Moment
from locallearn.planning.steps import LocalStep
from locallearn.tasks import Task

_DGL = DGL()
POINTS = 400
"""About how many moments of a step a plan keeps."""


@dataclass(frozen=True)
class BlockCost:
    """What one block and its objective cost; blocks that are trained together by one window count as one.

    Args:
        first: Index of the first block.
        last: Index of the last.
        units: Names of the modules their units start with.
        parameter_bytes: The network's parameters in the blocks.
        auxiliary_bytes: Parameters and buffers of the objectives that end here.
        gradient_bytes: Gradients of both.
        optimizer_bytes: The optimizer's state for both.
        peak_bytes: Most bytes alive, whatever they belong to, while the blocks and their objectives run.
        flops: Operations of matrix products and convolutions meanwhile, forward and backward.
    """

    first: int
    last: int
    units: tuple[str, ...]
    parameter_bytes: int
    auxiliary_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    peak_bytes: int
    flops: int

    @property
    def name(self) -> str:
        """What people call it: `block 3 (layer1.2)`."""
        units = self.units[0] if len(self.units) == 1 else f"{self.units[0]} to {self.units[-1]}"
        blocks = f"block {self.first}" if self.first == self.last else f"blocks {self.first} to {self.last}"
        return f"{blocks} ({units})"


@dataclass(frozen=True)
class Plan:
    """What one training step will hold and compute, beside its rivals.

    Bytes are those of all tensors alive, without an allocator's rounding and what an operator needs inside itself.

    Args:
        network: Name of the network's class.
        method: The method, with all its fields.
        input_shape: Shape of one input.
        batch_size: Inputs in a step.
        settings: Precision, optimizer, execution, layout and device.
        units: How many units the network has.
        sizes: Units of each block.
        split_points: The modules after which blocks end, as `partition(split_points=...)` takes them; None if some
            block ends with no module.
        peak_bytes: Most bytes alive.
        at_peak: What they belong to, by kind; see `step_meter.KINDS`.
        bottleneck: Index in `blocks` of what runs at the peak, None for the optimizer's step.
        blocks: What each block costs.
        flops: Operations of the whole step.
        moments: What is alive in the course of the step, thinned out.
        rivals: Back-propagation whole, with checkpointing, with accumulation.
        budget: Whether the plan fits, if a budget was given.
    """

    network: str
    method: str
    input_shape: tuple[int, ...]
    batch_size: int
    settings: dict[str, Any]
    units: int
    sizes: tuple[int, ...]
    split_points: tuple[str, ...] | None
    peak_bytes: int
    at_peak: dict[str, int]
    bottleneck: int | None
    blocks: tuple[BlockCost, ...]
    flops: int
    moments: tuple[Moment, ...]
    rivals: tuple[Rival, ...]
    budget: Budget | None

    def json(self) -> str:
        """The plan for machines.

        Returns:
            One JSON object on one line. Moments are rows `[operator, block, bytes of each kind...]`.
        """
        whole = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | {"kinds": KINDS}
        return json.dumps(whole, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Moment):
        return [value.operator, value.part, *value.held]
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def plan(
    network: nn.Module | Callable[[], nn.Module],
    input_shape: Sequence[int],
    *,
    batch_size: int,
    method: Method = _DGL,
    task: Task | None = None,
    num_blocks: int | None = None,
    balance: Literal["depth", "memory", "flops", "peak"] = "memory",
    split_points: Sequence[str] | None = None,
    preset: str | None = None,
    budget: int | str | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    optimizer: Literal["sgd", "adamw"] = "sgd",
    channels_last: bool = False,
    execution: Execution = PLAIN,
    step_in_backward: bool = False,
    device: str = "cpu",
    normalization: Normalization | None = None,
) -> Plan:
    """Predict memory and arithmetic of a training step on fake tensors: no data, no accelerator, nothing computed.

    Args:
        network: A module, which is left as it is, or a function that builds one, which is faster for large ones.
        input_shape: Shape of one input, `(C, H, W)` for images.
        batch_size: Inputs in a step.
        method: How the blocks are trained.
        task: What the network is trained for; None: segmentation where the network gives maps, else classification,
            with as many classes as it has outputs.
        num_blocks: K; None for one block for each unit, or with a budget for the fewest that fit.
        balance: What the blocks share evenly; `"peak"`: the cuts with the lowest peak that a search finds.
        split_points: Instead of `num_blocks`: modules after which to cut.
        preset: Cut as a paper's released code does.
        budget: Bytes that the step may hold, as a number or as `8GiB`, `500MB`.
        precision: Arithmetic of the forward passes.
        optimizer: SGD with momentum, or AdamW.
        channels_last: Whether images lie channels-last in memory.
        execution: How the step is carried out; compiled modules are counted as if they were not.
        step_in_backward: Whether the optimizer steps block by block, see `StepInBackward`.
        device: Whose operators to count; those of an accelerator only where there is one.
        normalization: See `LocalModel`.

    Returns:
        The plan.

    Raises:
        InputError: The network cannot be cut or trained so, or an argument is refused.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> plan(network, (4,), batch_size=64, num_blocks=2).peak_bytes < 64 * 1024
        True
    """
    _check(input_shape, batch_size, preset, num_blocks, balance, split_points)
    limit = None if budget is None else parsed_bytes(budget)
    rehearsal = Rehearsal(network, input_shape, task, device=_device(device), channels_last=channels_last)
    setting = Setting(
        method=method, batch_size=batch_size, execution=execution, precision=precision, optimizer=optimizer,
        step_in_backward=step_in_backward,
        normalization=normalization,
    )  # fmt: skip
    if limit is not None and num_blocks is None and split_points is None:
        blocks = fewest_blocks(rehearsal, setting, limit)
    elif balance == "peak":
        assert num_blocks is not None
        blocks = lowest_peak(rehearsal, setting, num_blocks)
    else:
        blocks = rehearsal.cut(num_blocks, balance, preset, split_points)
    step, measured = rehearsal.local(blocks, setting)
    others = rivals(rehearsal, setting, measured.peak.total if limit is None else limit, points=POINTS)
    return Plan(
        network=type(blocks.network).__name__,
        method=repr(method),
        input_shape=tuple(input_shape),
        batch_size=batch_size,
        settings={
            "precision": precision, "optimizer": optimizer, "channels_last": channels_last, "device": device,
            "execution": dataclasses.asdict(execution),
            "step_in_backward": step_in_backward,
        },
        units=len(blocks.units),
        sizes=tuple(len(info.units) for info in blocks.infos),
        split_points=_split_points(blocks),
        peak_bytes=measured.peak.total,
        at_peak=dict(zip(KINDS, measured.peak.held, strict=True)),
        bottleneck=measured.peak.part,
        blocks=_block_costs(blocks, step, measured),
        flops=measured.total_flops,
        moments=measured.thinned(POINTS),
        rivals=others,
        budget=None if limit is None else judged(rehearsal, blocks, setting, measured, limit),
    )  # fmt: skip


def _split_points(blocks: Partition) -> tuple[str, ...] | None:
    names = names_of_ends(blocks.network, blocks.traced)
    found = [names[info.units.stop - 1] for info in blocks.infos[:-1]]
    known = tuple(name for name in found if name is not None)
    return known if len(known) == len(found) else None


def _check(
    input_shape: Sequence[int],
    batch_size: int,
    preset: str | None,
    num_blocks: int | None,
    balance: str,
    split_points: Sequence[str] | None,
) -> None:
    if batch_size < 1 or not input_shape or min(input_shape) < 1:
        raise InputError(
            f"A plan needs a batch of at least 1 and a shape of positive numbers, not {batch_size} and {input_shape}."
        )
    if preset is not None and num_blocks is None:
        raise InputError(f"The preset {preset!r} needs num_blocks, the K whose published cuts it has.")
    if balance == "peak" and (num_blocks is None or preset is not None or split_points is not None):
        raise InputError(
            "balance='peak' searches cuts into num_blocks blocks: give num_blocks, and neither preset nor split_points."
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"There is no device {name!r}: use cpu, cuda, cuda:1, mps or xpu.") from error
    if device.type != "cpu" and not (torch.accelerator.is_available() and _is_current(device)):
        raise InputError(
            f"This machine has no {name}, whose operators could be counted. Leave the device out: the CPU's operators "
            "hold the same tensors but for what a few of them keep for their backward passes."
        )
    return device


def _is_current(device: torch.device) -> bool:
    current = torch.accelerator.current_accelerator()
    return current is not None and current.type == device.type


def _block_costs(blocks: Partition, step: LocalStep, measured: Measurement) -> tuple[BlockCost, ...]:
    model, costs, start = step.model, [], 0
    for part, stop in enumerate(ends(model)):
        own = list(dict.fromkeys(p for block in range(start, stop) for p in model.block_parameters(block)))
        objectives = [
            model.objectives[index] for index, window in enumerate(model.windows) if window.stop == stop
        ]  # fmt: skip
        extra = list(dict.fromkeys(p for objective in objectives for p in objective.parameters()))
        buffers = [buffer for objective in objectives for buffer in objective.buffers()]
        trained = [parameter for parameter in (*own, *extra) if parameter.requires_grad]
        state = [value for p in trained for value in step.optimizer.state.get(p, {}).values()]
        units = [unit for block in blocks.infos[start:stop] for unit in block.units]
        costs.append(
            BlockCost(
                first=start,
                last=stop - 1,
                units=tuple(blocks.units[unit].name for unit in units),
                parameter_bytes=_bytes(own),
                auxiliary_bytes=_bytes([*extra, *buffers]),
                gradient_bytes=_bytes(trained),
                optimizer_bytes=_bytes([value for value in state if isinstance(value, Tensor)]),
                peak_bytes=measured.peak_of(part),
                flops=measured.flops.get(part, 0),
            )
        )
        start = stop
    return tuple(costs)


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
