"""torchvision's ResNet at half its width, for images of about 100 pixels and training on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

STEM = 32


class SlimResNet(nn.Module):
    """Stem at a quarter of the resolution, four stages of 32, 64, 128 and 256 channels, pool and linear classifier.

    Modules are named as in torchvision's ResNet, whose basic blocks these are; the stem's convolution is 3x3.

    Args:
        blocks: Basic blocks of each stage.
        num_classes: Outputs.
        norm_layer: Makes a normalisation from a number of channels; `nn.BatchNorm2d` if None.

    Departures: Every convolution has half the channels of torchvision's ResNet.
    """

    def __init__(
        self, blocks: Sequence[int], num_classes: int, norm_layer: Callable[..., nn.Module] | None = None
    ) -> None:
        super().__init__()
        norm = norm_layer or nn.BatchNorm2d
        widths = [STEM * 2**stage for stage in range(4)]
        self.conv1 = nn.Conv2d(3, STEM, 3, stride=2, padding=1, bias=False)
        self.bn1 = norm(STEM)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(STEM, widths[0], blocks[0], 1, norm)
        self.layer2 = _stage(widths[0], widths[1], blocks[1], 2, norm)
        self.layer3 = _stage(widths[1], widths[2], blocks[2], 2, norm)
        self.layer4 = _stage(widths[2], widths[3], blocks[3], 2, norm)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """The logits.

        Args:
            images: (N, 3, H, W).

        Returns:
            (N, num_classes).
        """
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.fc(self.avgpool(maps).flatten(1))


def _stage(before: int, width: int, blocks: int, stride: int, norm: Callable[..., nn.Module]) -> nn.Sequential:
    shortcut = None
    if stride != 1 or before != width:
        shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), norm(width))
    first = BasicBlock(before, width, stride, shortcut, norm_layer=norm)
    return nn.Sequential(first, *(BasicBlock(width, width, norm_layer=norm) for _ in range(blocks - 1)))


def slim_resnet10(num_classes: int, norm_layer: Callable[..., nn.Module] | None = None) -> SlimResNet:
    """One block per stage.

    Args:
        num_classes: Outputs.
        norm_layer: See `SlimResNet`.

    Returns:
        The network.
    """
    return SlimResNet((1, 1, 1, 1), num_classes, norm_layer)


def slim_resnet18(num_classes: int, norm_layer: Callable[..., nn.Module] | None = None) -> SlimResNet:
    """Two blocks per stage.

    Args:
        num_classes: Outputs.
        norm_layer: See `SlimResNet`.

    Returns:
        The network.
    """
    return SlimResNet((2, 2, 2, 2), num_classes, norm_layer)
