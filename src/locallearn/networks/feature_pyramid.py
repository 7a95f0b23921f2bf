"""The backbone of a detector: a ResNet's body, random or pretrained, under a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision import models
from torchvision.models import resnet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from locallearn.errors import InputError
from locallearn.networks.backbone_weights import SUFFIX, load_backbone
from locallearn.networks.lookup import build

_SLIM = ("slim_resnet10", "slim_resnet18")
_FROM_THE_END = ("layer4", "layer3", "layer2", "layer1", "conv1")


def feature_pyramid(
    backbone: str,
    *,
    channels: int,
    returned: Sequence[int],
    extra: ExtraFPNBlock,
    weights: str | None,
    trainable_layers: int,
    frozen_norm: bool | None,
) -> BackboneWithFPN:
    """A ResNet without its classifier, under a feature pyramid.

    Args:
        backbone: A ResNet of torchvision, `slim_resnet10` or `slim_resnet18`.
        channels: Of every map of the pyramid.
        returned: Which of the stages 1 to 4 the pyramid reads.
        extra: Makes the coarser maps.
        weights: A name of torchvision's weights, the path of a .safetensors file of the same ResNet as a classifier,
            or None.
        trainable_layers: How many of stem and stages learn, counted from the end; 0 to 5.
        frozen_norm: Whether BatchNorms keep their statistics and weights; None: where there are weights.

    Returns:
        The backbone; its body's modules are named as torchvision's.

    Raises:
        InputError: A name is unknown, or the weights do not fit.

    Source: torchvision, models/detection/backbone_utils.py, `resnet_fpn_backbone`.
    Departures: Weights of one's own, ResNets of other widths, BatchNorms that learn where there are no weights.
    """
    if trainable_layers not in range(len(_FROM_THE_END) + 1):
        raise InputError(f"trainable_layers must be 0 to 5, stem and four stages, not {trainable_layers!r}.")
    norm = FrozenBatchNorm2d if (weights is not None if frozen_norm is None else frozen_norm) else nn.BatchNorm2d
    body = _body(backbone, weights, norm)
    learns = (*_FROM_THE_END[:trainable_layers], *(("bn1",) if trainable_layers == len(_FROM_THE_END) else ()))
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name.partition(".")[0] in learns)
    widest = body.fc.in_features
    layers = {f"layer{stage}": str(place) for place, stage in enumerate(returned)}
    return BackboneWithFPN(body, layers, [widest >> (4 - stage) for stage in returned], channels, extra_blocks=extra)


def _body(backbone: str, weights: str | None, norm: type[nn.Module]) -> Any:
    known = [name for name in models.list_models(module=models) if hasattr(resnet, name)]
    if backbone not in [*known, *_SLIM]:
        raise InputError(f"The backbone must be one of {', '.join([*known, *_SLIM])}, not {backbone!r}.")
    if weights is not None and not weights.endswith(SUFFIX):
        if backbone in _SLIM:
            raise InputError(f"weights_backbone must be the path of a {SUFFIX} file of {backbone}, not {weights!r}.")
        return build(backbone, 1, norm_layer=norm, weights=weights)
    body = build(backbone, 1, norm_layer=norm)
    if weights is not None:
        load_backbone(body, weights)
    return body
