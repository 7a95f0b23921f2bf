"""A method of your own: which blocks learn together, and what from.

Run: python examples/own_method.py

The method below has windows of two blocks that overlap by one, and every window predicts the class and restores the
image. The engine does the rest: one forward pass per block, every window's graph freed before the next is built, the
gradients of overlapping windows added. In the folder where the module is, the command line takes it too, and its field
is a flag: locallearn train --method own_method:PredictAndRestore --method.weight 0.5
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from digits import accuracy, digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import locallearn as ll

EPOCHS = 3


@dataclass(frozen=True, kw_only=True)
class PredictAndRestore(ll.Method):
    """Pairs of blocks that predict and restore; back-propagation reaches through two blocks and no further.

    Args:
        weight: Of the restored image's squared error.
    """

    weight: float = 1.0

    def windows(self, partition: ll.Partition) -> tuple[ll.Window, ...]:
        return tuple(ll.Window(stop - 2, stop) for stop in range(2, len(partition.blocks) + 1))

    def objective(
        self,
        window: ll.Window,
        site: ll.Site,
        context: ll.Context,
        *,
        head: Callable[[ll.Site, int], nn.Module] | None = None,
    ) -> ll.LocalObjective:
        channels = site.shape[0]
        classes = context.task.num_outputs
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, classes))
        decoder = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Upsample(context.image_shape[1:]))

        def restored(image: Tensor, batch: ll.Batch) -> Tensor:
            return F.mse_loss(image, batch.images)

        def predicted(logits: Tensor, batch: ll.Batch) -> Tensor:
            return context.task.loss(logits, batch.targets)

        return ll.WeightedTerms(
            ll.Term("class", head(site, classes) if head else pooled, predicted, predicts=True),
            ll.Term("image", decoder, restored, weight=self.weight, reads_inputs=True),
        )


def main() -> None:
    """Train with it and show what every window learned from."""
    torch.manual_seed(0)
    training, held_out = digits()
    loader = DataLoader(training, batch_size=64, shuffle=True, drop_last=True)
    network = ll.networks.resnet20(10, in_channels=1)
    blocks = ll.partition(network, torch.zeros(2, 1, 8, 8), num_blocks=4)
    model = ll.LocalModel(blocks, PredictAndRestore(weight=0.5), ll.Classification(10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=EPOCHS * len(loader))
    for _ in range(EPOCHS):
        for images, labels in loader:
            optimizer.zero_grad()
            outputs = model.local_backward(images, labels)
            optimizer.step()
            model.after_step()
            schedule.step()
    for window, output in zip(model.windows, outputs, strict=True):
        terms = ", ".join(f"{name} {value.item():.3f}" for name, value in output.terms.items())
        print(f"blocks {window.start} to {window.stop - 1}: {terms}")
    print(f"{accuracy(network, held_out):.1f} % of the held-out digits")


if __name__ == "__main__":
    main()
