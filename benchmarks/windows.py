"""Overlapping windows: one forward pass of every block against the plain way of running each window by itself."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from benchmarks.environment import write
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import locallearn as ll
from locallearn.benchmarking.turns import in_turns, ratios

METHODS: dict[str, ll.Method] = {
    "mlaan": ll.MLAAN(),
    "mlaan, multilaminar only": ll.MLAAN(leap="none"),
    "mlaan, c = 3": ll.MLAAN(cascade=3),
    "mlaan, c = 3, multilaminar only": ll.MLAAN(cascade=3, leap="none"),
}


def recomputing_backward(model: ll.LocalModel, inputs: Tensor, targets: Tensor) -> None:
    """Fill `.grad` as the authors' released code does: run the blocks of every window again, then one backward pass.

    Every block's detached input comes from an independent path through the network, as in the code, whose blocks run
    with a graph whether or not an independent loss follows.

    Args:
        model: Any method with one path through the blocks.
        inputs: `(N, C, H, W)`.
        targets: `(N,)`.
    """
    batch = ll.Batch(inputs, targets, model.normalization)
    blocks = model.partition.blocks
    independent = {w.stop: index for index, w in enumerate(model.windows) if w.stop - w.start == 1}
    cascades = {w.stop: index for index, w in enumerate(model.windows) if w.stop - w.start > 1}

    def backward(index: int, features: Tensor) -> None:
        (model.windows[index].weight * model.objectives[index](features, batch).loss).backward()

    entries = [inputs]
    for stop, block in enumerate(blocks, start=1):
        features = block(entries[-1])
        if stop in independent:
            backward(independent[stop], features)
        entries.append(features.detach())
        del features
        if stop in cascades:
            start = model.windows[cascades[stop]].start
            features = entries[start]
            for inner in blocks[start:stop]:
                features = inner(features)
            backward(cascades[stop], features)
            del features


def models(network: torch.nn.Module, num_blocks: int, method: ll.Method, inputs: Tensor) -> list[ll.LocalModel]:
    """Two equal models.

    Args:
        network: A CIFAR ResNet on its device and in its layout.
        num_blocks: K, cut as MLAAN's code does.
        method: How both are trained.
        inputs: One batch, for its layout.

    Returns:
        The models, each with a network of its own.
    """
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        blocks = ll.partition(deepcopy(network), inputs[:2], num_blocks=num_blocks, preset="mlaan")
        model = ll.LocalModel(blocks, method, ll.Classification(10))
        if inputs.is_contiguous(memory_format=torch.channels_last):
            model.to(memory_format=torch.channels_last)
        found.append(model)
    return found


def flops(step: Callable[[], object]) -> int:
    """Floating-point operations of one step.

    Args:
        step: What to count.

    Returns:
        Operations.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def compared(pair: list[ll.LocalModel], inputs: Tensor, targets: Tensor, rounds: int) -> dict[str, Any]:
    """Time and operations of our step over those of the plain one.

    Args:
        pair: Two equal models.
        inputs: One batch.
        targets: Its classes.
        rounds: Turns for each side after one to warm up.

    Returns:
        Seconds of our step, and ratios.
    """
    steps: list[Callable[[], object]] = [
        partial(pair[0].local_backward, inputs, targets),
        partial(recomputing_backward, pair[1], inputs, targets),
    ]
    ours, plain = in_turns(steps, inputs.device, rounds=rounds)
    lower, middle, upper = ratios(ours, plain)
    return {
        "seconds": round(statistics.median(ours), 4),
        "time_ratio": round(middle, 4),
        "quartiles": [round(lower, 4), round(upper, 4)],
        "flops_ratio": round(flops(steps[0]) / flops(steps[1]), 4),
        "rounds": rounds,
    }


def main() -> None:
    """Measure all rows and write `results/windows_DEVICE.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows: list[dict[str, Any]] = []
    for layout in ("contiguous", "channels last"):
        for name, num_blocks, batch in (("resnet32", 15, 128), ("resnet110", 54, 32)):
            form = torch.channels_last if layout == "channels last" else torch.contiguous_format
            network = ll.networks.build(name, 10).to(device, memory_format=form)
            inputs = torch.rand(batch, 3, 32, 32).to(device, memory_format=form)
            targets = torch.randint(10, (batch,)).to(device)
            for method_name, method in METHODS.items():
                rounds = options.rounds if name == "resnet32" else max(options.rounds // 3, 3)
                measured = compared(models(network, num_blocks, method, inputs), inputs, targets, rounds)
                setting = {"network": name, "num_blocks": num_blocks, "batch_size": batch, "layout": layout}
                rows.append(setting | {"method": method_name} | measured)
                print(rows[-1], flush=True)
    print(write(f"windows_{device.type}", rows, precision="fp32"))


if __name__ == "__main__":
    main()
