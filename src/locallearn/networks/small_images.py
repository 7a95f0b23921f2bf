"""Torchvision's mobile networks and VGG19 for images of 32x32 pixels: same layers and names, fewer strides."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models import RegNet, efficientnet_b0
from torchvision.models.efficientnet import EfficientNet
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.regnet import BlockParams
from torchvision.models.vgg import cfgs, make_layers


def mobilenet_v2_small(num_classes: int = 10, dropout: float = 0.2) -> MobileNetV2:
    """MobileNetV2 whose resolution falls by 8 instead of 32: 19 local layers.

    Its state has the names and shapes of torchvision's.

    Source: Ma et al., Scaling Supervised Local Learning with Augmented Auxiliary Networks, ICLR 2024, appendix A.4,
        which names network and number of local layers (stem, 17 inverted residuals, last 1x1 convolution).
    Departures: The appendix does not say how the network was made to fit 32x32 images. Here the stem and the first
        block of 24 channels have stride 1 instead of 2.

    Args:
        num_classes: Outputs.
        dropout: Share of features dropped before the classifier.

    Returns:
        The network.
    """
    settings = [
        [1, 16, 1, 1],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    network = MobileNetV2(num_classes, inverted_residual_setting=settings, dropout=dropout)
    _keep_resolution(network.get_submodule("features.0.0"))
    return network


def efficientnet_b0_small(
    num_classes: int = 10, dropout: float = 0.2, stochastic_depth_prob: float = 0.2
) -> EfficientNet:
    """EfficientNet-B0 whose resolution falls by 16 instead of 32: 17 local layers under `preset="auglocal"`.

    Its state has the names and shapes of torchvision's.

    Source: Ma et al., ICLR 2024, appendix A.4, which names network and number of local layers (stem and 16 blocks).
    Departures: The appendix does not say how the network was made to fit 32x32 images. Here the stem has stride 1
        instead of 2. The last 1x1 convolution stays; the preset counts it to the head.

    Args:
        num_classes: Outputs.
        dropout: Share of features dropped before the classifier.
        stochastic_depth_prob: Chance that the last block is skipped; earlier blocks proportionally less.

    Returns:
        The network.
    """
    network = efficientnet_b0(num_classes=num_classes, dropout=dropout, stochastic_depth_prob=stochastic_depth_prob)
    _keep_resolution(network.get_submodule("features.0.0"))
    return network


def regnet_x_400mf_small(num_classes: int = 10) -> RegNet:
    """RegNetX-400MF whose resolution falls by 4 instead of 32: 23 local layers.

    Its state has the names and shapes of torchvision's, but for the shortcut of the first block, which needs none if
    the stride is 1 and the widths agree; they agree, so `trunk_output.block1.block1-0.proj` is missing.

    Source: Ma et al., ICLR 2024, appendix A.4, which names network and number of local layers (stem and 22 blocks).
    Departures: The appendix does not say how the network was made to fit 32x32 images. Here the stem and the first two
        stages have stride 1 instead of 2.

    Args:
        num_classes: Outputs.

    Returns:
        The network.
    """
    params = BlockParams.from_init_params(depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16)
    params.strides = [1, 1, 2, 2]
    network = RegNet(params, num_classes)
    _keep_resolution(network.get_submodule("stem.0"))
    return network


class SmallVGG(nn.Module):
    """Torchvision's VGG19 up to its last pool, then global average pool and one linear layer.

    Weights start as torchvision's.
    """

    def __init__(self, num_classes: int, batch_norm: bool) -> None:
        """Layers with their initial weights.

        Args:
            num_classes: Outputs.
            batch_norm: Whether BatchNorm follows each convolution.
        """
        super().__init__()
        self.features = make_layers(cfgs["E"], batch_norm=batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(512, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: (B, 3, H, W), at least 32x32, normalised images.

        Returns:
            (B, num_classes).
        """
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg19_small(num_classes: int = 10, batch_norm: bool = True) -> SmallVGG:
    """VGG19 with one linear layer as classifier: 16 local layers.

    The state of its convolutions and normalisations has the names and shapes of torchvision's.

    Source: Ma et al., ICLR 2024, appendix A.2, which names the network; its released code lists 16 convolutions.
    Departures: Neither paper nor code shows its classifier on 32x32 images, where the last pool leaves one pixel. Here
        it is one linear layer after global average pooling instead of three of 4096 and dropout.

    Args:
        num_classes: Outputs.
        batch_norm: Whether BatchNorm follows each convolution, as in the released code's VGG13.

    Returns:
        The network.
    """
    return SmallVGG(num_classes, batch_norm)


def _keep_resolution(conv: nn.Module) -> None:
    cast(nn.Conv2d, conv).stride = (1, 1)
