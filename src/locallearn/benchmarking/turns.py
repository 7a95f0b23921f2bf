"""Steps that take turns within one run, so that whatever slows the machine down slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

Step = Callable[[], object]


def timed(step: Step, device: torch.device) -> float:
    """Seconds that a step takes, with the device's own work.

    Args:
        step: What to run once.
        device: Where it runs.

    Returns:
        Seconds.
    """
    _wait_for(device)
    start = time.perf_counter()
    step()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def in_turns(
    steps: Sequence[Step],
    device: torch.device,
    *,
    rounds: int,
    warm_up: int = 1,
    after_round: Callable[[int], None] = lambda _: None,
) -> list[list[float]]:
    """Seconds of each step, all of them taking turns, every other time in reverse order.

    Args:
        steps: What to run.
        device: Where they run.
        rounds: Turns for each that count.
        warm_up: Turns for each before those.
        after_round: Told how many rounds are over, those of the warm-up included.

    Returns:
        For each step its seconds, round by round.
    """
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(warm_up + rounds):
        pairs = list(zip(steps, seconds, strict=True))
        for step, record in pairs if turn % 2 == 0 else reversed(pairs):
            record.append(timed(step, device))
        after_round(turn + 1)
    return [record[warm_up:] for record in seconds]


def ratios(seconds: Sequence[float], baseline: Sequence[float]) -> tuple[float, float, float]:
    """The ratios of two sides that took turns.

    Args:
        seconds: Of one side, round by round.
        baseline: Of the other.

    Returns:
        The lower quartile, the median and the upper quartile.
    """
    found = [one / other for one, other in zip(seconds, baseline, strict=True)]
    if len(found) == 1:
        return found[0], found[0], found[0]
    lower, middle, upper = statistics.quantiles(found, method="inclusive")
    return lower, middle, upper
