"""Heads of your own under the losses of any method.

Run: python examples/custom_head.py

Every method that predicts takes `head=`, a function of the site where a head attaches and of how many numbers it shall
return. So a head of your own is one function, and a method that hands it on: it can be laid over DGL, PredSim and
InfoPro, and MAN and MLAAN over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from digits import accuracy, digits
from torch import nn
from torch.utils.data import DataLoader

import locallearn as ll

EPOCHS = 3


def small_head(site: ll.Site, num_outputs: int) -> nn.Module:
    """A head of 16 channels, whatever the block's width.

    Args:
        site: Where it attaches; `site.shape` is that of what it reads, without the batch.
        num_outputs: What the loss reads: the classes, or InfoPro's contrastive feature.

    Returns:
        The head.
    """
    return nn.Sequential(
        nn.Conv2d(site.shape[0], 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, num_outputs)
    )


@dataclass(frozen=True, kw_only=True)
class SmallHeads(ll.Wrapper):
    """Another method, with `small_head` in place of its own heads."""

    base: ll.Method = field(default=ll.DGL(), kw_only=False)

    def windows(self, partition: ll.Partition) -> tuple[ll.Window, ...]:
        return self.base.windows(partition)

    def objective(
        self,
        window: ll.Window,
        site: ll.Site,
        context: ll.Context,
        *,
        head: Callable[[ll.Site, int], nn.Module] | None = None,
    ) -> ll.LocalObjective:
        return self.base.objective(window, site, context, head=head or small_head)


def network() -> nn.Module:
    """Four convolutions and a classifier; each convolution will be a block.

    Returns:
        Random weights.
    """
    layers: list[nn.Module] = []
    for channels, width in ((1, 16), (16, 24), (24, 32), (32, 32)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def main() -> None:
    """Train the same network with each."""
    training, held_out = digits()
    loader = DataLoader(training, batch_size=64, shuffle=True, drop_last=True)
    small = SmallHeads(ll.DGL())
    for name, method in (("DGL", ll.DGL()), ("DGL, small heads", small), ("MAN over that", ll.MAN(small))):
        torch.manual_seed(0)
        blocks = ll.partition(network(), torch.zeros(2, 1, 8, 8), num_blocks=4)
        model = ll.LocalModel(blocks, method, ll.Classification(10))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=EPOCHS * len(loader))
        for _ in range(EPOCHS):
            for images, labels in loader:
                optimizer.zero_grad()
                model.local_backward(images, labels)
                optimizer.step()
                model.after_step()
                schedule.step()
        beside = sum(parameter.numel() for parameter in model.objectives.parameters())
        print(f"{name:<17}{beside:>7,} parameters beside the network; {accuracy(model.network, held_out):.1f} %")


if __name__ == "__main__":
    main()
