"""DeepLabV3 on every ResNet of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision import models
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import ResNet
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
from torchvision.models.segmentation.fcn import FCNHead

from locallearn.errors import InputError, listed
from locallearn.networks.backbone_weights import SUFFIX, load_backbone
from locallearn.networks.pretrained import loaded, offered

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
_BUILDERS = {"resnet50": deeplabv3_resnet50, "resnet101": deeplabv3_resnet101}
_RATES = (12, 24, 36)
"""Of the pyramid, at output stride 8; at others they reach as far in the image."""
_DILATED: dict[int, tuple[str, ...]] = {8: ("layer3", "layer4"), 16: ("layer4",), 32: ()}


def deeplabv3(
    num_classes: int,
    backbone: str = "resnet101",
    aux: bool | None = None,
    output_stride: int = 8,
    weights: str | None = None,
    weights_backbone: str | None = None,
) -> DeepLabV3:
    """Atrous spatial pyramid pooling on a ResNet whose last stages are dilated instead of strided.

    Args:
        num_classes: Classes of a pixel.
        backbone: `resnet18`, `resnet34`, `resnet50` or `resnet101`.
        aux: Whether a second head predicts from the third stage, during training; None: if there are `weights`.
        output_stride: Image size over that of the last features: 8, 16 or 32.
        weights: Name of torchvision's weights for the whole network, such as `DEFAULT`; they exist for ResNet-50 and
            ResNet-101 with output stride 8, 21 classes and an auxiliary head, and hold the backbone's.
        weights_backbone: Name of torchvision's weights for the backbone, such as `IMAGENET1K_V1`; or the path of a
            `.safetensors` file that `locallearn export` wrote of a classification run of the same ResNet.

    Returns:
        torchvision's own network under torchvision's own names; gives a dictionary with `"out"` and, if asked for,
        `"aux"`, `(N, num_classes, H, W)` each.

    Raises:
        InputError: An option is not one of the above, or weights do not fit or cannot be had.

    Source: L.-C. Chen et al.: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017; torchvision.
    Departures: torchvision's pyramid (256 channels; rates 12, 24, 36, halved at output stride 16 as the paper does),
        where the released code of InfoPro has mmsegmentation's (512 channels) on ResNetV1c. Both convolutions of a
        basic block are dilated.
    """
    _check(backbone, output_stride, weights)
    if weights is not None:
        return _pretrained(num_classes, backbone, aux, weights, weights_backbone)
    resnet: ResNet = _resnet(backbone, weights_backbone)
    dilate(resnet, _DILATED[output_stride])
    layers = {"layer3": "aux", "layer4": "out"} if aux else {"layer4": "out"}
    width = resnet.fc.in_features
    classifier = DeepLabHead(width, num_classes, [rate * 8 // output_stride for rate in _RATES])
    auxiliary = FCNHead(width // 2, num_classes) if aux else None
    return DeepLabV3(IntermediateLayerGetter(resnet, layers), classifier, auxiliary)


def dilate(resnet: ResNet, stages: Sequence[str]) -> None:
    """Have stages keep their resolution, and their later convolutions reach as far as before.

    The first block of a stage keeps the dilation of the stage before; in all others 3x3 convolutions get twice that.

    Args:
        resnet: A ResNet of torchvision, changed in place; its weights stay as they are.
        stages: The last stages in order, such as `layer3` and `layer4`.

    Source: torchvision, `replace_stride_with_dilation`, which refuses basic blocks.
    """
    dilation = 1
    for stage in stages:
        for index, block in enumerate(resnet.get_submodule(stage).children()):
            for conv in (module for module in block.modules() if isinstance(module, nn.Conv2d)):
                conv.stride = (1, 1)
                if conv.kernel_size == (3, 3):
                    conv.dilation = conv.padding = (dilation, dilation)
            if index == 0:
                dilation *= 2


def _check(backbone: str, output_stride: int, weights: str | None) -> None:
    problems = []
    if backbone not in BACKBONES:
        problems.append(f"backbone must be one of {', '.join(BACKBONES)}, not {backbone!r}.")
    if output_stride not in _DILATED:
        problems.append(f"output_stride must be one of {', '.join(map(str, _DILATED))}, not {output_stride!r}.")
    if weights is not None and (backbone not in _BUILDERS or output_stride != 8):
        problems.append(
            f"There are no weights {weights!r} for all of DeepLabV3 with {backbone} at output stride {output_stride}: "
            f"take {' or '.join(_BUILDERS)} at 8, or give weights_backbone instead."
        )
    if problems:
        raise InputError(listed(problems))


def _pretrained(
    num_classes: int, backbone: str, aux: bool | None, weights: str, weights_backbone: str | None
) -> DeepLabV3:
    """All of the network as torchvision trained it."""
    construct = _BUILDERS[backbone]
    entry = offered(construct.__name__, construct, weights)
    problems, classes = [], len(entry.meta["categories"])
    if num_classes != classes:
        problems.append(
            f"The weights {weights!r} are for {classes} classes, not {num_classes}: give weights_backbone instead."
        )
    if aux is False:
        problems.append(f"The weights {weights!r} hold an auxiliary head: leave aux=False out, or weights.")
    if weights_backbone is not None:
        problems.append(f"The weights {weights!r} hold the backbone's: give weights or weights_backbone, not both.")
    if problems:
        raise InputError(listed(problems))
    return loaded(construct.__name__, construct, entry, {"num_classes": num_classes, "aux_loss": True})


def _resnet(backbone: str, weights: str | None) -> Any:
    construct = models.get_model_builder(backbone)
    if weights is None:
        return construct(weights=None)
    if not isinstance(weights, str) or not weights.endswith(SUFFIX):
        return loaded(backbone, construct, offered(backbone, construct, weights), {})
    resnet = construct(weights=None)
    load_backbone(resnet, weights)
    return resnet
