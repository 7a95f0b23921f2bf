"""Learning rates as pure functions of the epoch (1 to E) or of the step (0 to T-1)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from locallearn.recipes.recipe import TrainingSection

POLY_FLOOR = 1e-4


def warmup_cosine(lr: float, epoch: int, epochs: int, *, warmup_epochs: int = 10, warmup_start: float = 0.01) -> float:
    """Cosine decay whose first epochs are mixed with a fixed small rate.

    `c(e) = lr/2 (1 + cos(pi e / E))`; after the warm-up the rate is `c(e)`, within its W epochs
    `c(e) (e-1)/W + start (W+1-e)/W`. The first epoch of a warm-up trains at exactly `start` whatever `lr` is; the last
    epoch at exactly 0 if E > W, else at `start (W+1-E)/W` (E = 3, W = 10, start = 0.01: 0.008).

    Args:
        lr: Base rate.
        epoch: Epoch, counted from 1.
        epochs: E, the number of epochs.
        warmup_epochs: W; 0 leaves the cosine alone.
        warmup_start: Rate of the first epoch; it does not scale with `lr`.

    Returns:
        The rate of every step of this epoch.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, train.py, `--cos_lr`.
    Departures: the length and the start of the warm-up are arguments (10 and 0.01 there).
    """
    decayed = lr / 2 * (1 + math.cos(math.pi * epoch / epochs))
    if epoch > warmup_epochs:
        return decayed
    return decayed * (epoch - 1) / warmup_epochs + warmup_start * (warmup_epochs + 1 - epoch) / warmup_epochs


def cosine(lr: float, epoch: int, epochs: int) -> float:
    """Cosine decay from `lr` in the first epoch: `lr/2 (1 + cos(pi (e-1) / E))`.

    Args:
        lr: Base rate.
        epoch: Epoch, counted from 1.
        epochs: E, the number of epochs.

    Returns:
        The rate of every step of this epoch.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, ImageNet training.
    Departures: epochs count from 1 (from 0 there).
    """
    return lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def step(lr: float, epoch: int, *, milestones: Sequence[int], gamma: float = 0.1) -> float:
    """Rate multiplied by `gamma` at each milestone: `lr gamma^(number of milestones m <= e)`.

    Args:
        lr: Base rate.
        epoch: Epoch, counted from 1.
        milestones: Epochs that train at `gamma` times the rate before them.
        gamma: Factor at each milestone.

    Returns:
        The rate of every step of this epoch.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, train.py, without `--cos_lr`.
    Departures: milestones and factor are arguments (80, 120 and 0.1 there).
    """
    return lr * gamma ** bisect_right(sorted(milestones), epoch)


def poly(lr: float, position: int, steps: int, *, power: float = 0.9) -> float:
    """Polynomial decay per step: `(lr - 1e-4) (1 - t/T)^power + 1e-4`.

    Args:
        lr: Base rate.
        position: t, steps already made.
        steps: T, steps of the whole run.
        power: Exponent.

    Returns:
        The rate of this step.

    Source: https://github.com/blackfeather-wang/InfoPro-Pytorch, semantic segmentation (mmsegmentation's poly policy).
    Departures: the exponent is an argument (0.9 there).
    """
    return (lr - POLY_FLOOR) * (1 - position / steps) ** power + POLY_FLOOR


def rate(training: TrainingSection, lr: float, *, epoch: int, position: int, steps: int) -> float:
    """The rate that a recipe's schedule gives one parameter group.

    Args:
        training: The recipe's training section; its schedule names the function.
        lr: The group's own base rate.
        epoch: Epoch, counted from 1.
        position: Steps already made in the whole run.
        steps: Steps of the whole run.

    Returns:
        The rate of the next step.
    """
    schedule = training.schedule
    match schedule.name:
        case "warmup_cosine":
            warmup = {"warmup_epochs": schedule.warmup_epochs, "warmup_start": schedule.warmup_start}
            return warmup_cosine(lr, epoch, training.epochs, **warmup)
        case "cosine":
            return cosine(lr, epoch, training.epochs)
        case "step":
            return step(lr, epoch, milestones=schedule.milestones, gamma=schedule.gamma)
        case "poly":
            return poly(lr, position, steps, power=schedule.power)
        case "constant":
            return lr
