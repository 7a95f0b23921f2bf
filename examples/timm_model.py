"""A network of timm, here a small ConvNeXt with random weights, trained in four blocks.

Run: python examples/timm_model.py          (needs the extra: pip install 'locallearn[timm]')

Nothing is written for timm: `partition` traces whatever torch.fx can trace. A block that learns alone does not know
what the next one needs; MAN puts a moving average of the next block in front of its head.
"""

from __future__ import annotations

import timm
import torch
from digits import accuracy, digits
from torch.utils.data import DataLoader

import locallearn as ll

EPOCHS = 3


def trained(method: ll.Method) -> float:
    """Train a fresh network.

    Args:
        method: How its blocks learn.

    Returns:
        Accuracy on held-out digits, in percent.
    """
    torch.manual_seed(0)
    training, held_out = digits()
    loader = DataLoader(training, batch_size=64, shuffle=True, drop_last=True)
    small = {"depths": (1, 1, 1, 1), "dims": (16, 32, 48, 64), "patch_size": 1}  # for images of 8x8
    network = timm.create_model("convnext_atto", pretrained=False, in_chans=1, num_classes=10, **small)
    blocks = ll.partition(network, torch.zeros(2, 1, 8, 8), num_blocks=4)
    model = ll.LocalModel(blocks, method, ll.Classification(10))

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=EPOCHS * len(loader))
    for _ in range(EPOCHS):
        for images, labels in loader:
            optimizer.zero_grad()
            model.local_backward(images, labels)
            optimizer.step()
            model.after_step()  # here MAN's copies follow the blocks they are copies of
            schedule.step()
    return accuracy(network, held_out)


def main() -> None:
    """Compare back-propagation, DGL and DGL with MAN, all from the same start."""
    for name in ("backprop", "dgl", "dgl+man"):
        print(f"{name:<9} {trained(ll.method(name)):.1f} % of the held-out digits after {EPOCHS} epochs")


if __name__ == "__main__":
    main()
