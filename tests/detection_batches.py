"""Small detectors and images with objects for them."""

from __future__ import annotations

import torch

from locallearn import networks


def images_and_targets(num_classes=2):
    """Three images of different sizes: two objects, one of them within the other; one object; none."""
    generator = torch.Generator().manual_seed(3)
    sizes = [(48, 64), (64, 40), (64, 64)]
    boxes = [[[4.0, 4.0, 44.0, 44.0], [10.0, 12.0, 30.0, 28.0]], [[2.0, 20.0, 36.0, 60.0]], []]
    images = [torch.rand(3, *size, generator=generator) for size in sizes]
    targets = []
    for (height, width), corners in zip(sizes, boxes, strict=True):
        masks = torch.zeros(len(corners), height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True):
            mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
        labels = torch.arange(len(corners)) % num_classes + 1
        targets.append({"boxes": torch.tensor(corners).reshape(-1, 4), "labels": labels, "masks": masks})
    return images, targets


def detector(kind="mask_rcnn", seed=0, num_classes=2, **options):
    """A detector of 64-pixel images."""
    torch.manual_seed(seed)
    options = {"backbone": "slim_resnet10", "image_size": 64, "heads": "small"} | options
    return networks.build(kind, num_classes, **options)
