"""Networks of every kind, small enough that every method trains on them in an instant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from small_networks import in_dtype, perceptron, residual, stack

CLASSES = 3


class Joined(nn.Module):
    """A residual block whose shortcut changes width and resolution if the block does."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        shortcut = OrderedDict(conv=nn.Conv2d(before, after, 1, stride, bias=False), norm=nn.BatchNorm2d(after))
        self.shortcut = nn.Identity() if before == after and stride == 1 else nn.Sequential(shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


def staged(depths: Sequence[int] = (2, 2, 1), width: int = 3, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A stem and stages of residual blocks; every stage but the first starts with a stride and doubles the width."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"], layers["norm"] = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
    layers["relu"] = nn.ReLU(inplace=True)
    before = width
    for stage, depth in enumerate(depths):
        after = width * 2**stage
        strides = [1 if stage == 0 else 2] + [1] * (depth - 1)
        blocks = [Joined(before if b == 0 else after, after, stride) for b, stride in enumerate(strides)]
        layers[f"stage{stage + 1}"] = nn.Sequential(*blocks)
        before = after
    layers["pool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    layers["linear"] = nn.Linear(before, CLASSES)
    return in_dtype(nn.Sequential(layers), dtype)


def pooled(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Convolutions with bias and pools between them, as VGG has; a pool belongs to the convolution after it."""
    layers: list[nn.Module] = []
    for before, after, pools in ((3, 4, False), (4, 6, True), (6, 6, False), (6, 8, True)):
        layers += [nn.MaxPool2d(2)] if pools else []
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)]
    return in_dtype(nn.Sequential(*layers), dtype)


def transformer(dtype: torch.dtype = torch.float64) -> nn.Module:
    """A vision transformer of three layers on four patches."""
    network = VisionTransformer(
        image_size=16, patch_size=8, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=CLASSES
    )
    nn.init.normal_(network.heads.head.weight, std=0.3)
    return in_dtype(network, dtype)


IMAGE = (3, 16, 16)
NETWORKS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "plain": (lambda **how: stack([4, 4, 6, 6], strides=[1, 2, 1, 2], **how), IMAGE),
    "residual": (residual, IMAGE),
    "staged": (staged, IMAGE),
    "pooled": (pooled, IMAGE),
    "perceptron": (perceptron, (8,)),
    "transformer": (transformer, IMAGE),
}
"""How each is made, and the shape of its input."""
