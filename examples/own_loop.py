"""A training loop with all that loops have: mixed precision, gradient accumulation, checkpoints, and going on from one.

Run: python examples/own_loop.py

Nothing of it is special to local learning, since `local_backward` does no more than fill `.grad`. The script trains
twice, once in one go and once stopped half-way and resumed from a file, and compares the weights bit by bit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from digits import accuracy, digits
from torch.utils.data import DataLoader

import locallearn as ll

EPOCHS, MICRO_BATCHES = 2, 2


def built() -> tuple[ll.LocalModel, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Model, optimizer and schedule from a fixed start.

    Returns:
        The three, not yet trained.
    """
    torch.manual_seed(0)
    network = ll.networks.resnet20(10, in_channels=1)
    blocks = ll.partition(network, torch.zeros(2, 1, 8, 8), num_blocks=4)
    model = ll.LocalModel(blocks, ll.MAN(ll.DGL(), momentum=0.9), ll.Classification(10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)


def train(checkpoint: Path, epochs: range) -> ll.LocalModel:
    """Train some epochs and write a checkpoint after the last of them.

    Args:
        checkpoint: The file; if it exists, training goes on from there.
        epochs: Which epochs to train.

    Returns:
        The model after the last epoch.
    """
    model, optimizer, schedule = built()
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])  # network, heads, and MAN's averaged copies
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])

    training, _ = digits()
    share = [1 / MICRO_BATCHES] * len(model.windows)  # one factor for each window's gradients
    for epoch in epochs:
        order = torch.Generator().manual_seed(epoch)  # the same batches, however often we stop
        loader = DataLoader(training, batch_size=64, shuffle=True, drop_last=True, generator=order)
        for images, labels in loader:
            optimizer.zero_grad()
            for part, answers in zip(images.chunk(MICRO_BATCHES), labels.chunk(MICRO_BATCHES), strict=True):
                with torch.autocast("cpu", dtype=torch.bfloat16):  # forward passes in bf16, weights in fp32
                    model.local_backward(part, answers, scales=share)  # gradients add up in .grad
            optimizer.step()
            model.after_step()  # once a step, as the optimizer
        schedule.step()

    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(state, checkpoint)
    return model


def main() -> None:
    """Train with and without a stop, and compare."""
    _, held_out = digits()
    with tempfile.TemporaryDirectory() as folder:
        whole = train(Path(folder, "whole.pt"), range(EPOCHS))
        print(f"in one go: {accuracy(whole.network, held_out):.1f} % of the held-out digits")
        half = train(Path(folder, "halves.pt"), range(EPOCHS // 2))
        print(f"stopped half-way: {accuracy(half.network, held_out):.1f} %")
        resumed = train(Path(folder, "halves.pt"), range(EPOCHS // 2, EPOCHS))
        print(f"resumed to the end: {accuracy(resumed.network, held_out):.1f} %")
    same = all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    print(f"the same weights to the last bit: {same}")


if __name__ == "__main__":
    main()
