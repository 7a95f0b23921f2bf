"""From a recipe's model to what computes its gradients: here alone, or in all processes."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from typing_extensions import override

from locallearn.engine.step_listener import StepListener
from locallearn.errors import InputError, listed
from locallearn.parallel.block_parallel import BlockParallel
from locallearn.parallel.data_parallel import DataParallel
from locallearn.parallel.whole_model import WholeModel

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel
    from locallearn.parallel.team import Team
    from locallearn.recipes.recipe import Recipe
    from locallearn.training.optimizer_step import Trainer

TRANSFER = {"own": None, "bf16": torch.bfloat16}
REPEATS = 3


def trainer_of(model: LocalModel, recipe: Recipe, team: Team, inputs: torch.Tensor) -> Trainer:
    """What computes the gradients of a run.

    Args:
        model: The same in every process.
        recipe: How processes work together.
        team: The processes.
        inputs: As large as this process's part of a batch, to time blocks with; its values do not matter.

    Returns:
        The model alone, or divided by batches or by blocks.

    Raises:
        InputError: The recipe asks for what the processes cannot do together.
    """
    section, layout = recipe.distributed, team.layout
    if team.is_alone:
        return WholeModel(model)
    check_together(recipe, team, inputs.device)
    if section.sync_batch_norm:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    common: dict[str, Any] = {"gather": section.gather, "timeout": section.timeout, "watch": team.watch}
    if layout.blocks == 1:
        return DataParallel(model, shard=section.shard, **common)
    times, speeds = _times_and_speeds(model, inputs, team)
    common |= {"crossing": section.crossing, "exchange_every": section.exchange_every, "queue": section.queue}
    common |= {"replay": section.replay}
    return BlockParallel(model, layout, times=times, speeds=speeds, transfer=TRANSFER[section.transfer], **common)


def check_together(recipe: Recipe, team: Team, device: torch.device) -> None:
    """Refuse settings that several processes cannot follow together.

    Args:
        recipe: The run.
        team: The processes.
        device: Where they train.

    Raises:
        InputError: All that cannot be had is named.
    """
    training, blocks = recipe.training, team.layout.blocks > 1
    problems = {
        "SyncBatchNorm works on accelerators alone: leave distributed.sync_batch_norm off on cpu.": (
            recipe.distributed.sync_batch_norm and device.type == "cpu"
        ),
        "Shards are of batches' processes: leave distributed.shard off, or divide batches alone (data=N).": (
            blocks and recipe.distributed.shard
        ),
        "training.step_in_backward steps parameters that are gathered at the time: leave it or shard off.": (
            recipe.distributed.shard and training.step_in_backward
        ),
        "With replay, processes with the same blocks would go out of step: leave it off, or divide blocks alone.": (
            recipe.distributed.replay is not None and team.layout.replicas > 1
        ),
        "clip_norm and fp16 look at all gradients of a block, of which shard leaves parts here: leave one out.": (
            recipe.distributed.shard and (training.clip_norm is not None or recipe.precision == "fp16")
        ),
        "training.capture replays a whole step, in which processes cannot wait for each other: leave it off.": (
            training.capture
        ),
        "clip_norm needs the gradients of all blocks at once: use clip_value, or divide batches alone (data=N).": (
            blocks and training.clip_norm is not None
        ),
        'fp16 scales the losses of all blocks in one place: use precision "bf16" or "fp32", or data=N.': (
            blocks and recipe.precision == "fp16"
        ),
        "training.offload sends idle blocks away, and here every process has few: leave it off.": (
            blocks and training.offload
        ),
    }
    if found := [problem for problem, there in problems.items() if there]:
        raise InputError(listed(found))


class _Stopwatch(StepListener):
    """Adds up, block by block, the seconds of steps."""

    def __init__(self, model: LocalModel, device: torch.device) -> None:
        self.seconds: dict[int, float] = defaultdict(float)
        self._ends = [window.stop - 1 for window in model.windows]
        self._device = device
        self._block: int | None = None
        self._since = 0.0

    @override
    def before_block(self, index: int) -> None:
        self._turn(index)

    @override
    def before_objective(self, index: int) -> None:
        self._turn(self._ends[index])

    @override
    def after_window(self, index: int) -> None:
        self._turn(self._ends[index])

    def _turn(self, block: int) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        now = time.perf_counter()
        if self._block is not None:
            self.seconds[self._block] += now - self._since
        self._block, self._since = block, now


def _times_and_speeds(model: LocalModel, inputs: torch.Tensor, team: Team) -> tuple[list[float], list[float]]:
    """Seconds of each block where the first process runs it, and how fast each stage's device is beside that one."""
    found: list[Any] = [None] * team.layout.processes
    dist.all_gather_object(found, block_seconds(model, inputs))
    totals = [sum(found[team.layout.rank(stage, 0)]) for stage in range(team.layout.blocks)]
    return found[0], [totals[0] / total for total in totals]


def block_seconds(model: LocalModel, inputs: torch.Tensor) -> list[float]:
    """How long each block takes in a step with its objectives; the model is afterwards as it was.

    Args:
        model: In training mode.
        inputs: A batch.

    Returns:
        Seconds of each block.
    """
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stopwatch = _Stopwatch(model, inputs.device)
    with torch.random.fork_rng():
        for turn in range(REPEATS + 1):
            if turn == 1:
                stopwatch = _Stopwatch(model, inputs.device)
            model.local_backward(inputs, model.task.blank_targets(inputs), listener=stopwatch)
            model.zero_grad(set_to_none=True)
            model.averages.forget()
    model.load_state_dict(before)
    return [stopwatch.seconds[block] / REPEATS for block in range(len(model.partition.blocks))]
