"""What bf16 and channels-last are worth: plain PyTorch and DGL in both layouts and precisions, taking turns."""

from __future__ import annotations

import argparse
import itertools
import statistics
from functools import partial
from typing import Any

import torch
from benchmarks.environment import write

from locallearn.benchmarking.rows import PRECISIONS, ROWS
from locallearn.benchmarking.sides import BatchForm, Setting, build
from locallearn.benchmarking.turns import in_turns, ratios

NAMES = ("plain PyTorch", "dgl")


def main() -> None:
    """Measure all rows on ResNet-32 at batch 128 and write `results/precision_DEVICE.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    setting = Setting(network="resnet32", input_shape=(3, 32, 32), num_blocks=16, device=options.device)
    sides = list(itertools.product(NAMES, (False, True), PRECISIONS))
    steps = []
    for name, channels_last, precision in sides:
        form = BatchForm(size=128, channels_last=channels_last)
        row = next(row for row in ROWS if (row.name, row.precision) == (name, precision))
        steps.append(partial(build(row, setting, form), *form.batch(setting)))
    seconds = dict(zip(sides, in_turns(steps, torch.device(options.device), rounds=options.rounds), strict=True))
    rows: list[dict[str, Any]] = []
    for (name, channels_last, precision), record in seconds.items():
        lower, middle, upper = ratios(record, seconds[name, False, "fp32"])
        rows.append(
            {
                "network": "resnet32",
                "num_blocks": 16,
                "batch_size": 128,
                "layout": "channels last" if channels_last else "contiguous",
                "precision": precision,
                "method": name,
                "seconds": round(statistics.median(record), 5),
                "time_ratio": round(middle, 4),
                "quartiles": [round(lower, 4), round(upper, 4)],
                "rounds": options.rounds,
            }
        )
    print(write(f"precision_{options.device}", rows, baseline="the same method, contiguous, fp32"))


if __name__ == "__main__":
    main()
