"""AugLocal's auxiliary network: fresh layers of the primary network's own kind, pool, classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from locallearn.auxiliary.feature_map import as_map, feature_width, global_average
from locallearn.auxiliary.fresh_layer import fresh_block, fresh_weight_layer, halves_by_stride
from locallearn.auxiliary.initial_values import draw_anew
from locallearn.auxiliary.shape_adapter import adapted
from locallearn.auxiliary.tokens import Reading, TokenVector
from locallearn.auxiliary.unit_pattern import UnitPattern
from locallearn.errors import InputError

Halving = Callable[[tuple[int, ...], UnitPattern], bool]
"""Whether the layer modelled on a unit halves rows and columns of the feature it gets."""


class LaterLayers(nn.Module):
    """Layers modelled on later units of the network, global average pool, BatchNorm at depth one, linear layer.

    Every layer is built anew for the channels it gets and is drawn anew: convolutions from N(0, sqrt(2 / (k k C_out))),
    all else as PyTorch starts it. A layer halves the resolution at most once.

    Source:
        Ma, Wu, Si, Tan, "Scaling Supervised Local Learning with Augmented Auxiliary Networks", ICLR 2024, and its
        released code (ChenxiangMA/AugLocal, networks/auxiliary_nets.py).

    Departures:
        The released code knows ResNets and VGG. Other units of a kind unknown here are deep copies, drawn anew but for
        parameters that belong to no layer with initial values of its own; where their input does not fit, an adapter
        stands before them that resolves the whole difference at once. The classifier is one linear layer also for VGG,
        where the authors' has two hidden layers. Tokens are made one vector.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_outputs: int,
        patterns: Sequence[UnitPattern],
        halving: Halving,
        *,
        norm: bool = False,
        tokens: Reading = "mean",
        ending: Callable[[tuple[int, ...]], nn.Module | None] | None = None,
    ) -> None:
        """Builds the network.

        Args:
            shape: The feature's, without batch: (C, H, W), (T, D) or (D,).
            num_outputs: Classes.
            patterns: The units that the layers are modelled on, in order.
            halving: Where the resolution falls; asked once for each layer in order.
            norm: Whether BatchNorm stands before the linear layer.
            tokens: How a sequence is made one vector, see `TokenVector`.
            ending: From the shape of what the layers return to what follows them; where it is None, pool and linear
                layer do.
        """
        super().__init__()
        layers, current = [], tuple(shape)
        for pattern in patterns:
            layer, current = _layer(pattern, current, halving(current, pattern))
            layers.append(layer)
        self.layers = nn.Sequential(*layers)
        self.ending = None if ending is None else ending(current)
        if self.ending is not None:
            return
        width = feature_width(current)
        self.vector = TokenVector(tokens) if len(current) == 2 else None
        self.norm = nn.BatchNorm1d(width) if norm else None
        self.linear = nn.Linear(width, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits.

        Args:
            features: (B, C, H, W), (B, T, D) or (B, D).

        Returns:
            (B, num_outputs), or what the ending returns.
        """
        later = self.layers(features)
        if self.ending is not None:
            return self.ending(later)
        pooled = global_average(as_map(later)) if self.vector is None else self.vector(later)
        return self.linear(pooled if self.norm is None else self.norm(pooled))


def _layer(pattern: UnitPattern, shape: tuple[int, ...], halves: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """A fresh layer and the shape it returns."""
    maps = len(shape) == 3
    layer = None
    if pattern.modules and len(shape) == len(pattern.in_shape) == len(pattern.out_shape):
        if maps and len(pattern.modules) == 1:
            layer = fresh_block(pattern.modules[0], shape[0], 2 if halves else 1)
            if layer is not None:
                return layer, (pattern.out_shape[0], *(-(-side // 2) if halves else side for side in shape[1:]))
        channels, width = (shape[0], pattern.out_shape[0]) if maps else (shape[-1], pattern.out_shape[-1])
        pool = nn.MaxPool2d((min(2, shape[1]), min(2, shape[2]))) if maps and halves else None
        layer = fresh_weight_layer(pattern.modules, channels, width, maps=maps, pool=pool)
    if layer is not None and maps and halves and halves_by_stride(layer):
        return layer, (pattern.out_shape[0], *(-(-side // 2) for side in shape[1:]))
    if layer is not None and maps:
        return layer, (pattern.out_shape[0], *(max(1, side // 2) if halves else side for side in shape[1:]))
    if layer is not None:
        return layer, (*shape[:-1], pattern.out_shape[-1])
    return _copied(pattern, shape), pattern.out_shape


def _copied(pattern: UnitPattern, shape: tuple[int, ...]) -> nn.Module:
    copy = pattern.copy().requires_grad_(True)
    if torch.get_default_device().type == "meta":
        copy.to("meta")
    draw_anew(copy)
    layer = adapted(copy, shape, pattern.in_shape)
    if layer is None:
        raise InputError(
            f"A layer modelled on unit {pattern.name}, which reads {pattern.in_shape}, cannot follow a feature of "
            f"shape {shape}. Use other blocks, so that no head crosses this change, or another method."
        )
    return layer


def observed(shape: tuple[int, ...], pattern: UnitPattern) -> bool:
    """Halve where the unit's output in the network is at most half as large, but for the rounding of odd sides.

    What one layer leaves over is left to the next, and dropped at the end.

    Args:
        shape: The feature's.
        pattern: The unit.

    Returns:
        Whether the layer halves.
    """
    if not len(shape) == len(pattern.out_shape) == 3:
        return False
    sides = list(zip(shape[1:], pattern.out_shape[1:], strict=True))
    return any(have > want for have, want in sides) and all(-(-have // 2) >= want for have, want in sides)


def never(shape: tuple[int, ...], pattern: UnitPattern) -> bool:
    """Keep the resolution.

    Args:
        shape: The feature's.
        pattern: The unit.

    Returns:
        False.
    """
    return False


def at_first() -> Halving:
    """Halve at the first layer and nowhere else.

    Returns:
        The rule, for one network.
    """
    asked: list[UnitPattern] = []

    def rule(shape: tuple[int, ...], pattern: UnitPattern) -> bool:
        asked.append(pattern)
        return len(asked) == 1

    return rule


def by_channel_ratio(start: UnitPattern) -> Halving:
    """The released code's rule: a block halves once for each doubling of the width, one halving per block.

    What one block leaves over is left to the next, and dropped at the end. A plain convolution has a pool before it
    where its width differs from the one before, whatever the ratio.

    Args:
        start: The unit whose output the network reads.

    Returns:
        The rule, for one network.

    Raises:
        InputError: By the rule, when a block has fewer channels than the one before.
    """
    width, debt = start.width, 0
    before = start.name

    def rule(shape: tuple[int, ...], pattern: UnitPattern) -> bool:
        nonlocal width, debt, before
        ratio, changes = pattern.width // width, pattern.width != width
        if _is_plain(pattern):
            width, before = pattern.width, pattern.name
            return changes
        if ratio < 1:
            raise InputError(
                f"downsampling='channel_ratio' needs widths that never fall, and unit {pattern.name} has "
                f"{pattern.width} channels after {width} of unit {before}; use downsampling='observed'."
            )
        debt += int(math.log2(ratio))
        width, before = pattern.width, pattern.name
        debt -= (halves := debt >= 1)
        return halves

    return rule


def _is_plain(pattern: UnitPattern) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in pattern.modules)
