"""What the simulation predicts of two processes, from costs measured while both work, beside what they do.

Run on a quiet machine: `OMP_NUM_THREADS=1 python -m benchmarks.simulation_check`.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, replace
from typing import Any

import torch
from benchmarks.environment import write
from benchmarks.parallel import rate
from benchmarks.parallel_sides import FAST, Setting, batch_of, blocks_apart, local_model, sgd, together

from locallearn.simulation.measure import measured
from locallearn.simulation.prediction import LocalLearning, predicted
from locallearn.simulation.workload import Link

LINK = Link(1e9, 1e-4)
"""Between two processes of one machine, about."""


def costs(rank: int, setting: Setting) -> dict[str, Any]:
    """What each block costs in this process."""
    model = local_model(setting)
    return {"costs": measured(model, *batch_of(setting.batch), optimizer=sgd(model.parameters()), repeats=3)}


def row_of(setting: Setting) -> dict[str, Any]:
    """One turn: costs, then the run that they should predict."""
    told = [
        predicted(each["costs"], [LocalLearning(queue=setting.queue)], 2, stages=2, link=LINK).images_per_second
        for each in together(2, costs, setting)
    ]
    found = rate(together(2, blocks_apart, setting, FAST, False), setting.batch)
    prediction = statistics.fmean(told)
    print(f"{found:.1f} images/s, predicted {prediction:.1f} ({100 * (prediction / found - 1):+.0f} %)", flush=True)
    return {"images_per_second": found, "predicted_images_per_second": prediction}


def main() -> None:
    """Measure and write `results/simulation_check.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=Setting.batch)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    setting = replace(Setting(), batch=options.batch)
    rows = [{"turn": turn + 1} | row_of(setting) for turn in range(options.turns)]
    print(write("simulation_check", rows, setting=asdict(setting)))


if __name__ == "__main__":
    main()
