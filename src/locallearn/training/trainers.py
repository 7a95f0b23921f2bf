"""From a recipe's model to what computes its gradients: here alone, or in all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from locallearn.errors import InputError, listed
from locallearn.parallel.block_parallel import BlockParallel
from locallearn.parallel.data_parallel import DataParallel
from locallearn.parallel.whole_model import WholeModel
from locallearn.precision import precision_context
from locallearn.simulation.step_clock import block_seconds
from locallearn.tasks.detection import Detection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locallearn.local_model import LocalModel
    from locallearn.parallel.team import Team
    from locallearn.recipes.recipe import Recipe
    from locallearn.tasks import Task
    from locallearn.training.optimizer_step import Trainer

TRANSFER = {"own": None, "bf16": torch.bfloat16}


def trainer_of(
    model: LocalModel, recipe: Recipe, team: Team, inputs: torch.Tensor, borders: Sequence[int] | None = None
) -> Trainer:
    """What computes the gradients of a run.

    Args:
        model: The same in every process.
        recipe: How processes work together.
        team: The processes.
        inputs: As large as this process's part of a batch, to time blocks with; its values do not matter.
        borders: Where a run that goes on had its blocks divided among as many processes; None times them.

    Returns:
        The model alone, or divided by batches or by blocks.

    Raises:
        InputError: The recipe asks for what the processes cannot do together.
    """
    section, layout = recipe.distributed, team.layout
    if team.is_alone:
        return WholeModel(model)
    check_together(recipe, team, inputs.device, model.task)
    if section.sync_batch_norm:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    common: dict[str, Any] = {"gather": section.gather, "timeout": section.timeout, "watch": team.watch}
    if layout.blocks == 1:
        return DataParallel(model, shard=section.shard, **common)
    if borders is None:
        times, speeds = _times_and_speeds(model, inputs, recipe, team)
        common |= {"times": times, "speeds": speeds}
    common |= {"crossing": section.crossing, "exchange_every": section.exchange_every, "queue": section.queue}
    common |= {"replay": section.replay}
    return BlockParallel(model, layout, borders=borders, transfer=TRANSFER[section.transfer], **common)


def check_together(recipe: Recipe, team: Team, device: torch.device, task: Task) -> None:
    """Refuse settings that several processes cannot follow together.

    Args:
        recipe: The run.
        team: The processes.
        device: Where they train.
        task: What they learn.

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
        "Detectors take images of many sizes, which do not travel: divide the batches (--parallel data=N).": (
            blocks and isinstance(task, Detection)
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


def _times_and_speeds(
    model: LocalModel, inputs: torch.Tensor, recipe: Recipe, team: Team
) -> tuple[list[float], list[float]]:
    """Seconds of each block where the first process runs it, and how fast each stage's device is beside that one."""
    with precision_context(recipe.precision, inputs.device):
        own = block_seconds(model, inputs)
    found = team.exchanged(own, "blocks were timed")
    totals = [sum(found[team.layout.rank(stage, 0)]) for stage in range(team.layout.blocks)]
    return found[0], [totals[0] / total for total in totals]
