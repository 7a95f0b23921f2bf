"""ResNets for small images: three stages of 16, 32 and 64 channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to the input, then ReLU.

    Where width or stride change, the input passes a 1x1 convolution with BatchNorm. In-place operators overwrite only
    what BatchNorm made, which nothing keeps; the input is never overwritten.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Convolutions and BatchNorm.

        Args:
            channels: Channels of the input.
            width: Channels of the output.
            stride: Of the first convolution.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output.

        Args:
            x: (B, channels, H, W).

        Returns:
            (B, width, ceil(H / stride), ceil(W / stride)).
        """
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class CifarResNet(nn.Module):
    """Stem of one 3x3 convolution, three stages of basic blocks, global average pool, linear classifier.

    Modules are named as in torchvision's ResNet. Convolutions are drawn from N(0, sqrt(2 / (k k C_out))), BatchNorm
    starts at 1 and 0, the classifier at PyTorch's default. With ten classes 32 layers have 466,906 parameters, 110 have
    1,730,714.

    Source: He et al. Deep Residual Learning for Image Recognition. CVPR 2016, section 4.2.
    Departures: Projection shortcuts (option B) where the paper's CIFAR networks subsample and pad with zeros (option
        A), as the released codes of InfoPro (Wang et al., ICLR 2021) and its successors do.
    """

    def __init__(self, blocks_per_stage: int, num_classes: int, in_channels: int) -> None:
        """Stem, stages and classifier with their initial weights.

        Args:
            blocks_per_stage: n; the network has 6n + 2 layers.
            num_classes: Outputs.
            in_channels: Channels of the image.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(16, 16, 1, blocks_per_stage)
        self.layer2 = _stage(16, 32, 2, blocks_per_stage)
        self.layer3 = _stage(32, 64, 2, blocks_per_stage)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: (B, in_channels, H, W), normalised images.

        Returns:
            (B, num_classes).
        """
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(channels: int, width: int, stride: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(channels, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1)))


def resnet20(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-20: three blocks per stage.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.

    Returns:
        The network.
    """
    return CifarResNet(3, num_classes, in_channels)


def resnet32(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-32: five blocks per stage.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.

    Returns:
        The network.
    """
    return CifarResNet(5, num_classes, in_channels)


def resnet44(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-44: seven blocks per stage.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.

    Returns:
        The network.
    """
    return CifarResNet(7, num_classes, in_channels)


def resnet56(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-56: nine blocks per stage.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.

    Returns:
        The network.
    """
    return CifarResNet(9, num_classes, in_channels)


def resnet110(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-110: eighteen blocks per stage.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.

    Returns:
        The network.
    """
    return CifarResNet(18, num_classes, in_channels)
