"""What a step would cost by other means: back-propagation whole, checkpointed, or over several micro-batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from locallearn.planning.fitting import largest_fitting
from locallearn.planning.rehearsal import Rehearsal, Setting
from locallearn.planning.step_meter import GRADIENTS, KINDS, Measurement, Moment

FIXED = tuple(kind for kind in KINDS if kind in ("parameters", "buffers", "optimizer state", "batch"))


@dataclass(frozen=True)
class Rival:
    """Another way to take the same step.

    Args:
        name: What it is.
        peak_bytes: Most bytes alive; None if it cannot be brought below the limit.
        flops: Operations of matrix products and convolutions.
        micro_batches: Parts that the batch is cut into.
        moments: What is alive in the course of the step; empty where it was not asked for.
    """

    name: str
    peak_bytes: int | None
    flops: int
    micro_batches: int = 1
    moments: tuple[Moment, ...] = ()


def rivals(rehearsal: Rehearsal, setting: Setting, limit: int, *, points: int) -> tuple[Rival, ...]:
    """Plain back-propagation, with checkpointing, and with the fewest micro-batches that fit.

    Args:
        rehearsal: Runs the steps.
        setting: Batch, precision and optimizer.
        limit: Bytes that accumulation must stay within.
        points: How many moments of plain back-propagation to keep.

    Returns:
        The three.
    """
    whole = rehearsal.backprop(setting)
    checkpointed = rehearsal.checkpointing(setting)
    return (
        Rival("backprop", whole.peak.total, whole.total_flops, moments=whole.thinned(points)),
        Rival("backprop, checkpointing", checkpointed.peak.total, checkpointed.total_flops),
        _accumulation(rehearsal, setting, limit, whole),
    )


def _accumulation(rehearsal: Rehearsal, setting: Setting, limit: int, whole: Measurement) -> Rival:
    name, most = "backprop, accumulation", setting.batch_size // rehearsal.smallest_batch()
    if whole.peak.total <= limit or most < 2:
        fits = whole.peak.total <= limit
        return Rival(name, whole.peak.total if fits else None, whole.total_flops)

    def peak(negative: int) -> int:
        return rehearsal.accumulation(setting, -negative).peak.total

    count = largest_fitting(peak, -most, -2, limit, guess=-_guess(whole, setting.batch_size, limit, most))
    if count is None:
        return Rival(name, None, whole.total_flops, most)
    return Rival(name, peak(count), whole.total_flops, -count)


def _guess(whole: Measurement, batch_size: int, limit: int, most: int) -> int:
    """All but what is held anyway taken to grow with the micro-batch."""
    held = dict(zip(KINDS, whole.peak.held, strict=True))
    gradients = max(moment.held[KINDS.index(GRADIENTS)] for moment in whole.moments)
    fixed = sum(held[kind] for kind in FIXED) + gradients
    size = (limit - fixed) * batch_size // max(held["activations"], 1)
    return math.ceil(batch_size / size) if size > 0 else most
