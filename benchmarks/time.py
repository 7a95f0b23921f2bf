"""Time of one training step over that of plain PyTorch, all sides taking turns within one run."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from benchmarks.environment import write
from torch import Tensor
from torch.nn import functional as F

import locallearn as ll
from locallearn.training.step_cost import timed

METHODS: dict[str, ll.Method] = {
    "backprop": ll.Backprop(),
    "dgl": ll.DGL(),
    "predsim": ll.PredSim(),
    "infopro": ll.InfoPro(task_loss="cross_entropy"),
    "auglocal": ll.AugLocal(),
    "dgl+man": ll.MAN(),
    "infopro+man": ll.MAN(ll.InfoPro(task_loss="cross_entropy")),
    "mlaan": ll.MLAAN(),
}


def sides(network: torch.nn.Module, num_blocks: int, inputs: Tensor, targets: Tensor) -> dict[str, Callable[[], None]]:
    """One step of plain PyTorch and of each method, each on a copy of the network with the same optimizer.

    Args:
        network: A CIFAR ResNet on its device and in its layout.
        num_blocks: K, cut as AugLocal's code does.
        inputs: One batch.
        targets: Its classes.

    Returns:
        Steps by name.
    """

    def sgd(module: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)

    untouched = deepcopy(network)
    plain_optimizer = sgd(untouched)

    def plain() -> None:
        plain_optimizer.zero_grad()
        F.cross_entropy(untouched(inputs), targets).backward()
        plain_optimizer.step()

    def local(method: ll.Method) -> Callable[[], None]:
        blocks = ll.partition(deepcopy(network), inputs[:2], num_blocks=num_blocks, preset="auglocal")
        model = ll.LocalModel(blocks, method, ll.Classification(10), normalization=((0.5,) * 3, (0.25,) * 3))
        if inputs.is_contiguous(memory_format=torch.channels_last):
            model.to(memory_format=torch.channels_last)
        optimizer = sgd(model)

        def step() -> None:
            optimizer.zero_grad()
            model.local_backward(inputs, targets)
            optimizer.step()
            model.after_step()

        return step

    return {"plain PyTorch": plain} | {name: local(method) for name, method in METHODS.items()}


def main() -> None:
    """Measure all rows and write `results/time_DEVICE.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows: list[dict[str, Any]] = []
    for layout in ("contiguous", "channels last"):
        for name, num_blocks, batch in (("resnet32", 16, 128), ("resnet110", 55, 64)):
            torch.manual_seed(0)
            form = torch.channels_last if layout == "channels last" else torch.contiguous_format
            network = ll.networks.build(name, 10).to(device, memory_format=form)
            inputs = torch.rand(batch, 3, 32, 32).to(device, memory_format=form)
            steps = sides(network, num_blocks, inputs, torch.randint(10, (batch,)).to(device))
            times: dict[str, list[float]] = {side: [] for side in steps}
            rounds = options.rounds if name == "resnet32" else max(options.rounds // 3, 3)
            for _ in range(rounds + 2):
                for side, step in steps.items():
                    times[side].append(timed(step, device))
            plain = times["plain PyTorch"][2:]
            for side, record in times.items():
                ratios = [one / other for one, other in zip(record[2:], plain, strict=True)]
                rows.append(
                    {
                        "network": name,
                        "num_blocks": num_blocks,
                        "batch_size": batch,
                        "layout": layout,
                        "method": side,
                        "seconds": round(statistics.median(record[2:]), 5),
                        "time_ratio": round(statistics.median(ratios), 4),
                        "quartiles": [round(value, 4) for value in statistics.quantiles(ratios)[::2]],
                        "rounds": rounds,
                    }
                )
                print(rows[-1], flush=True)
    print(write(f"time_{device.type}", rows, precision="fp32"))


if __name__ == "__main__":
    main()
