"""Your own network, cut into four blocks that learn on their own, in your own training loop.

Run: python examples/own_model.py

The network is an ordinary module and knows nothing of local learning. `partition` finds out by itself where it can be
cut; `local_backward` takes the place of `loss.backward()`. What remains at the end is the network alone.
"""

from __future__ import annotations

import torch
from digits import accuracy, digits
from torch import Tensor, nn
from torch.utils.data import DataLoader

import locallearn as ll


class Residual(nn.Module):
    """Two convolutions and a shortcut. Its own forward joins two paths, so it is never cut in two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class MyNetwork(nn.Module):
    """A stem, five residual blocks, a classifier."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(5)))
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def main() -> None:
    """Train, then load the weights into a network that this package has never seen."""
    torch.manual_seed(0)
    training, held_out = digits()
    loader = DataLoader(training, batch_size=64, shuffle=True, drop_last=True)

    network = MyNetwork()
    blocks = ll.partition(network, torch.zeros(2, 1, 8, 8), num_blocks=4)
    for info in blocks.infos:
        print(f"block {info.index}: {', '.join(blocks.units[unit].name for unit in info.units)}")
    model = ll.LocalModel(blocks, ll.DGL(), ll.Classification(10))

    epochs = 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            outputs = model.local_backward(images, labels)  # instead of loss.backward()
            optimizer.step()
            model.after_step()
            schedule.step()
        losses = ", ".join(f"{output.loss.item():.3f}" for output in outputs)
        print(f"epoch {epoch + 1}: the blocks' losses {losses}; held-out accuracy {accuracy(network, held_out):.1f} %")

    fresh = MyNetwork()
    fresh.load_state_dict(network.state_dict(), strict=True)  # the same keys as ever
    print(f"the weights in a fresh MyNetwork: {accuracy(fresh, held_out):.1f} % of {len(held_out)} held-out digits")


if __name__ == "__main__":
    main()
