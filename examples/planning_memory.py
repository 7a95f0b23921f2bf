"""What a training step will hold, before anything runs, and into how many blocks to cut so that it fits.

Run: python examples/planning_memory.py

A plan runs a step on tensors without memory, so it needs no data and no accelerator. On the command line:
locallearn plan --network resnet20 --input 3 32 32 --batch-size 512 --budget 300MiB
"""

from __future__ import annotations

from functools import partial

from torch import nn

import locallearn as ll

MIB = 2**20


def network() -> nn.Module:
    """Eight convolutions and a classifier.

    Returns:
        Random weights; where a plan builds it, weights without memory.
    """
    layers: list[nn.Module] = []
    for channels in (3, *[32] * 7):
        layers += [nn.Conv2d(channels, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


planned = partial(ll.plan, network, input_shape=(3, 32, 32), batch_size=512)


def main() -> None:
    """Plan by hand, then let a budget choose."""
    print("batch 512 of 3x32x32: bytes alive at the peak of a step")
    for num_blocks in (2, 8):
        found = planned(method=ll.DGL(), num_blocks=num_blocks)
        print(f"  dgl in {num_blocks} blocks: {found.peak_bytes / MIB:.0f} MiB, highest in block {found.bottleneck}")
    for rival in found.rivals:  # beside every plan stands what one would do without local learning
        if rival.peak_bytes is not None:
            arithmetic = rival.flops / found.rivals[0].flops
            print(f"  {rival.name}: {rival.peak_bytes / MIB:.0f} MiB, {arithmetic:.2f} times the arithmetic")

    found = planned(method=ll.DGL(), budget="600MiB")  # where nothing fits, found.budget says what would help
    assert found.budget is not None
    print(f"into 600 MiB: {'fits' if found.budget.fits else 'does not fit'}, {len(found.sizes)} blocks")
    print(f"  {found.peak_bytes / MIB:.0f} MiB; ll.partition(..., split_points={list(found.split_points)})")


if __name__ == "__main__":
    main()
