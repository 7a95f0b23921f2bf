"""Fresh layers of a known kind, for other input channels and another stride than their pattern has."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from locallearn.auxiliary.initial_values import draw_anew
from locallearn.auxiliary.own_copy import own_copy


def fresh_block(pattern: nn.Module, channels: int, stride: int) -> nn.Module | None:
    """A new building block of the pattern's class and output width.

    Known are the residual blocks of our and torchvision's ResNets, MobileNetV2's inverted residual, EfficientNet's
    MBConv and RegNet's bottleneck. The shortcut is a projection where width or stride change, or is left out where the
    kind has none there.

    Args:
        pattern: A block of the primary network; it is only read.
        channels: Channels of the new block's input.
        stride: 1 or 2.

    Returns:
        The block with initial values of its own; None if the kind is unknown.
    """
    kind = type(pattern)
    build = _BLOCKS.get(f"{kind.__module__}.{kind.__qualname__}")
    if build is None:
        return None
    block = build(pattern, channels, stride)
    draw_anew(block)
    return block


def fresh_weight_layer(
    modules: Sequence[nn.Module], channels: int, width: int, *, maps: bool, pool: nn.Module | None = None
) -> nn.Module | None:
    """A new convolution or linear layer with new normalisation and activation, as VGG is made of.

    A pool, dropout or identity that the pattern starts with and the stride of its convolution are left out: the
    resolution falls by `pool` alone, in whose place a 1x1 convolution, such as MobileNetV2's last, gets the stride 2.

    Args:
        modules: The pattern: pools, one weight layer, then what keeps the shape; they are only read.
        channels: Channels of the new layer's input.
        width: Channels of what the pattern returns.
        maps: Whether the layer reads maps; else tokens or vectors.
        pool: Stands in front, None if the resolution stays.

    Returns:
        The layer with initial values of its own; None if the pattern is anything else.
    """
    rest = list(modules)
    while rest and (_is_pool(rest[0]) or isinstance(rest[0], (nn.Identity, nn.Dropout))):
        rest.pop(0)
    if not rest or not all(_keeps_shape(module) for module in rest[1:]):
        return None
    weights = _same_size_conv(rest[0], channels) if maps else _linear(rest[0], channels)
    if weights is None or len(weights.weight) != width:
        return None
    if pool is not None and isinstance(weights, nn.Conv2d) and weights.kernel_size == (1, 1):
        weights.stride, pool = (2, 2), None
    layers: OrderedDict[str, nn.Module] = OrderedDict({} if pool is None else {"pool": pool})
    layers["weights"] = weights
    layers |= {f"after{place}": own_copy(module).requires_grad_(True) for place, module in enumerate(rest[1:])}
    layer = nn.Sequential(layers)
    draw_anew(layer)
    return layer


def halves_by_stride(layer: nn.Module) -> bool:
    """Whether a fresh convolution halves the resolution by its stride, so that odd sides are rounded up.

    Args:
        layer: From `fresh_weight_layer`.

    Returns:
        True if so.
    """
    weights = layer.get_submodule("weights")
    return isinstance(weights, nn.Conv2d) and weights.stride == (2, 2)


_SHAPE_KEEPERS = ("activation", "batchnorm", "dropout", "instancenorm", "linear.Identity", "normalization")


def _keeps_shape(module: nn.Module) -> bool:
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    whole_map = isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1
    known = kind.startswith(tuple(f"torch.nn.modules.{name}" for name in _SHAPE_KEEPERS))
    return known and not whole_map and not any(parameter.ndim > 1 for parameter in module.parameters())


def _is_pool(module: nn.Module) -> bool:
    return "pool" in type(module).__name__.lower() and next(module.parameters(), None) is None


def _linear(pattern: nn.Module, channels: int) -> nn.Linear | None:
    if type(pattern) is not nn.Linear:
        return None
    return nn.Linear(channels, pattern.out_features, pattern.bias is not None)


def _same_size_conv(pattern: nn.Module, channels: int) -> nn.Conv2d | None:
    """A convolution of stride 1 that keeps rows and columns, if the pattern has such a form."""
    if type(pattern) is not nn.Conv2d or channels % pattern.groups or isinstance(pattern.padding, str):
        return None
    kernel = zip(pattern.kernel_size, pattern.padding, pattern.dilation, strict=True)
    if any(2 * padding != dilation * (side - 1) for side, padding, dilation in kernel):
        return None
    return nn.Conv2d(
        channels,
        pattern.out_channels,
        (pattern.kernel_size[0], pattern.kernel_size[1]),
        padding=(pattern.padding[0], pattern.padding[1]),
        dilation=(pattern.dilation[0], pattern.dilation[1]),
        groups=pattern.groups,
        bias=pattern.bias is not None,
    )


def _like(norm: nn.Module) -> Callable[[int], nn.Module]:
    """Makes normalisations of the same kind for so many channels."""
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        kind: Any = type(norm)
        options = {name: getattr(norm, name) for name in ("eps", "momentum", "affine", "track_running_stats")}
        return lambda channels: kind(channels, **options)
    if isinstance(norm, nn.GroupNorm):
        return lambda channels: nn.GroupNorm(norm.num_groups, channels, eps=norm.eps)
    return type(norm)


def _our_basic(pattern: Any, channels: int, stride: int) -> nn.Module:
    return type(pattern)(channels, pattern.conv2.out_channels, stride)


def _basic(pattern: Any, channels: int, stride: int) -> nn.Module:
    norm, width = _like(pattern.bn1), pattern.conv2.out_channels
    shortcut = _projection(channels, width, stride, norm)
    return type(pattern)(channels, width, stride, shortcut, norm_layer=norm)


def _bottleneck(pattern: Any, channels: int, stride: int) -> nn.Module:
    norm, width, groups = _like(pattern.bn1), pattern.conv3.out_channels, pattern.conv2.groups
    planes = width // pattern.expansion
    return type(pattern)(
        channels,
        planes,
        stride,
        _projection(channels, width, stride, norm),
        groups=groups,
        base_width=pattern.conv2.out_channels // groups * 64 / planes,
        dilation=pattern.conv2.dilation[0],
        norm_layer=norm,
    )


def _projection(before: int, after: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Module | None:
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm(after))


def _inverted_residual(pattern: Any, channels: int, stride: int) -> nn.Module:
    convs = [module for module in pattern.conv.modules() if isinstance(module, nn.Conv2d)]
    expansion = convs[-1].in_channels / convs[0].in_channels
    return type(pattern)(channels, pattern.out_channels, stride, expansion, norm_layer=_like(pattern.conv[-1]))


def _mbconv(pattern: Any, channels: int, stride: int) -> nn.Module:
    efficientnet = importlib.import_module(type(pattern).__module__)
    convs = [module for module in pattern.block.modules() if isinstance(module, nn.Conv2d)]
    depthwise = next(conv for conv in convs if conv.groups > 1)
    config = efficientnet.MBConvConfig(
        depthwise.in_channels / convs[0].in_channels,
        depthwise.kernel_size[0],
        stride,
        channels,
        pattern.out_channels,
        1,
    )
    return type(pattern)(config, pattern.stochastic_depth.p, _like(pattern.block[-1][1]))


def _res_bottleneck(pattern: Any, channels: int, stride: int) -> nn.Module:
    middle, width = pattern.f.b[0], pattern.f.c[0].out_channels
    squeeze = getattr(pattern.f, "se", None)
    return type(pattern)(
        channels,
        width,
        stride,
        _like(pattern.f.c[1]),
        type(pattern.activation),
        group_width=middle.in_channels // middle.groups,
        bottleneck_multiplier=middle.out_channels / width,
        se_ratio=squeeze.fc1.out_channels / pattern.f.a[0].in_channels if squeeze is not None else None,
    )


_BLOCKS: dict[str, Callable[[Any, int, int], nn.Module]] = {
    "locallearn.networks.cifar_resnet.BasicBlock": _our_basic,
    "torchvision.models.resnet.BasicBlock": _basic,
    "torchvision.models.resnet.Bottleneck": _bottleneck,
    "torchvision.models.mobilenetv2.InvertedResidual": _inverted_residual,
    "torchvision.models.efficientnet.MBConv": _mbconv,
    "torchvision.models.regnet.ResBottleneckBlock": _res_bottleneck,
}
