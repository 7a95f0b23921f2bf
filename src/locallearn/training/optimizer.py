"""One ordinary optimizer over blocks, auxiliary networks and cascades, each with its own rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn, optim

from locallearn.parallel.sharding import is_sharded
from locallearn.training.schedule import rate

if TYPE_CHECKING:
    from locallearn.recipes.recipe import TrainingSection


def build(groups: Mapping[str, Sequence[nn.Parameter]], training: TrainingSection) -> optim.Optimizer:
    """SGD with (Nesterov) momentum or AdamW, with fused updates.

    Args:
        groups: Parameters by `"blocks"`, `"auxiliary"` and `"cascades"`; empty groups are left out.
        training: Optimizer, rates and weight decay.

    Returns:
        An optimizer whose groups carry `name` and `base_lr`, the rate before the schedule.
    """
    rates = {
        "blocks": training.lr,
        "auxiliary": training.auxiliary_lr or training.lr,
        "cascades": training.cascade_lr or training.lr,
    }
    settings: list[dict[str, Any]] = [
        {"params": list(parameters), "name": name, "lr": rates[name], "base_lr": rates[name]}
        for name, parameters in groups.items()
        if parameters
    ]
    # torch has no fused SGD of sharded parameters.
    fused = not any(is_sharded(parameter) for parameters in groups.values() for parameter in parameters)
    common: dict[str, Any] = {"weight_decay": training.weight_decay, "fused": fused}
    if training.optimizer == "adamw":
        return optim.AdamW(settings, betas=training.betas, **common)
    return optim.SGD(settings, momentum=training.momentum, nesterov=training.nesterov, **common)


def set_rates(
    optimizer: optim.Optimizer, training: TrainingSection, *, epoch: int, position: int, steps: int
) -> dict[str, float]:
    """Give every group the schedule's rate for the next step.

    Args:
        optimizer: From `build`.
        training: Names the schedule.
        epoch: Epoch, counted from 1.
        position: Steps already made in the whole run.
        steps: Steps of the whole run.

    Returns:
        The rates by group.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate(training, group["base_lr"], epoch=epoch, position=position, steps=steps)
    return {group["name"]: group["lr"] for group in optimizer.param_groups}
