"""Two processes of one thread each: blocks in parallel, two trainings apart, and 1F1B; also over slow links.

Run on a quiet machine: `OMP_NUM_THREADS=1 python -m benchmarks.parallel`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from benchmarks.environment import write
from benchmarks.parallel_sides import (
    FAST,
    GIGABIT,
    Setting,
    SlowLink,
    alone,
    batch_of,
    blocks_apart,
    local_model,
    pipelined,
    sgd,
    sleepers,
    sleepers_batch,
    sleeping,
    together,
)

from locallearn.simulation.measure import measured
from locallearn.simulation.prediction import LocalLearning, predicted
from locallearn.simulation.workload import Link

MICRO_BATCHES = (2, 4, 8, 16)
SLEEPS = (0.03, 0.05, 0.02, 0.04, 0.03, 0.06, 0.02, 0.05)
"""Seconds of blocks that sleep, for four processes."""


def rate(found: Sequence[dict[str, Any]], batch: int) -> float:
    """Images per second of processes that work on the same batches: as many as the slowest passes on."""
    return batch / max(statistics.median(each["seconds"]) for each in found)


def row(name: str, rate: float, found: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One line of the table."""
    keys = {"link": "memory", "micro_batches": None, "blocks": None, "predicted_images_per_second": None}
    counted = [each.get("bytes") for each in found]
    print(name, more.get("link", ""), more.get("micro_batches", ""), f"{rate:.2f} images/s", counted, flush=True)
    return {"name": name, "images_per_second": rate, "bytes_per_rank": counted} | keys | more


def rows_of(setting: Setting) -> list[dict[str, Any]]:
    """All rows, in turns of one process or several at a time."""
    one = together(1, alone, setting)
    found = [row("one process", rate(one, setting.batch), one)]
    two = together(2, alone, setting)
    found.append(row("two trainings apart", sum(rate([each], setting.batch) for each in two), two))
    found += _over(setting, FAST, "memory", count=True, micro_batches=MICRO_BATCHES)
    found[2]["predicted_images_per_second"] = _prediction(setting)
    step = setting.batch / found[2]["images_per_second"]
    best = max(found[3:], key=lambda each: each["images_per_second"])["micro_batches"]
    for name, link in (("a quarter of a step late", SlowLink(delay=step / 4)), ("1 Gb/s", SlowLink(bandwidth=GIGABIT))):
        found += _over(setting, link, name, count=False, micro_batches=(best,))
    return [*found, _asleep(setting.steps)]


def _over(
    setting: Setting, link: SlowLink, name: str, *, count: bool, micro_batches: Sequence[int]
) -> list[dict[str, Any]]:
    ours = together(2, blocks_apart, setting, link, count)
    blocks = [each["blocks"] for each in ours]
    found = [row("blocks in parallel", rate(ours, setting.batch), ours, link=name, blocks=blocks)]
    for parts in micro_batches:
        theirs = together(2, pipelined, setting, link, parts, count)
        found.append(row("1F1B", rate(theirs, setting.batch), theirs, link=name, micro_batches=parts))
    return found


def _prediction(setting: Setting) -> float:
    model = local_model(setting)
    inputs, targets = batch_of(setting.batch)
    workload = measured(model, inputs, targets, optimizer=sgd(model.parameters()), repeats=3)
    schedule = LocalLearning(queue=setting.queue)
    return predicted(workload, [schedule], 2, stages=2, link=Link(1e9, 1e-4)).images_per_second


def _asleep(steps: int) -> dict[str, Any]:
    found = together(4, sleeping, SLEEPS, 10 * steps)
    model = sleepers(SLEEPS)
    workload = measured(model, *sleepers_batch(), optimizer=None, repeats=5)
    told = predicted(workload, [LocalLearning(queue=1)], 4, stages=4, link=Link(1e9, 1e-4))
    blocks = [each["blocks"] for each in found]
    named = {"blocks": blocks, "predicted_images_per_second": told.images_per_second}
    return row("four processes of sleeping blocks", rate(found, 4), found, **named)


def main() -> None:
    """Measure and write `results/parallel.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default=Setting.network)
    parser.add_argument("--batch", type=int, default=Setting.batch)
    parser.add_argument("--steps", type=int, default=Setting.steps)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    setting = replace(Setting(), network=options.network, batch=options.batch, steps=options.steps)
    rows = rows_of(setting)
    if not options.dry:
        print(write("parallel", rows, setting=asdict(setting)))


if __name__ == "__main__":
    main()
