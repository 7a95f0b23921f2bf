"""Segmentation in blocks: a class for every pixel, on generated images.

Run: python examples/segmentation.py

Images hold rectangles and discs on a noisy ground. `ll.Segmentation` gives every block a head of logits per pixel and
scores it on the label map; borders of objects are marked 255 and do not count. Losses that compare whole samples by
their class (PredSim, InfoPro's contrastive loss) have no meaning here and are refused.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import locallearn as ll

SIZE, NAMES = 32, ("ground", "rectangle", "disc")


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw images and their label maps.

    Args:
        count: How many.
        seed: Of all that is drawn.

    Returns:
        Images (N, 3, 32, 32) and labels (N, 32, 32), int64, 255 along the discs' borders.
    """
    random = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images = 0.5 + 0.1 * torch.randn(count, 3, SIZE, SIZE, generator=random)
    labels = torch.zeros(count, SIZE, SIZE, dtype=torch.int64)
    for image, label in zip(images, labels, strict=True):
        top, left, height, width, y, x = torch.randint(6, 18, (6,), generator=random).tolist()
        shade = 0.4 * torch.rand(2, 3, 1, generator=random) - 0.2
        inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
        distance = ((rows - y - 4) ** 2 + (columns - x - 4) ** 2).sqrt()
        for kind, mask in enumerate((inside, distance < 6)):
            label[mask] = kind + 1
            image[:, mask] += shade[kind]
        label[(distance - 6).abs() < 0.5] = 255
    return images, labels


def convolution(channels: int, width: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution with normalisation.

    Args:
        channels: It reads.
        width: It returns.
        stride: Between its places.

    Returns:
        The three layers.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


def main() -> None:
    """Train in four blocks and score the held-out images."""
    torch.manual_seed(0)
    images, labels = pictures(384, seed=0)
    held_out, answers = pictures(96, seed=1)
    network = nn.Sequential(
        convolution(3, 24),
        convolution(24, 32, stride=2),
        convolution(32, 32),
        convolution(32, 48),
        nn.Conv2d(48, len(NAMES), 1),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    )
    task = ll.Segmentation(len(NAMES))
    model = ll.LocalModel(ll.partition(network, torch.zeros(2, 3, SIZE, SIZE), num_blocks=4), ll.DGL(), task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(6):
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            outputs = model.local_backward(images[batch], labels[batch])
            optimizer.step()
            model.after_step()
        losses = ", ".join(f"{output.loss.item():.3f}" for output in outputs)
        print(f"epoch {epoch + 1}: the blocks' cross-entropy per pixel {losses}")

    network.eval()
    with torch.no_grad():
        for name, logits in (
            ("everything is ground", torch.eye(len(NAMES))[0].view(1, -1, 1, 1).expand(len(held_out), -1, SIZE, SIZE)),
            ("the network", network(held_out)),
        ):
            metric = task.metric()
            metric.update(logits, answers)
            print(f"{name}: {metric.results()}")


if __name__ == "__main__":
    main()
