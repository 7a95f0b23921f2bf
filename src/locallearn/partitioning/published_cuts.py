"""The cuts of the papers and their released code, by network."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from torch import nn

from locallearn.errors import InputError
from locallearn.partitioning.balance import even_sizes
from locallearn.partitioning.unit import Unit


class Form(NamedTuple):
    """What tells a published network from others, whatever its name, its classes and the size of its images.

    Args:
        runs: How many units in a row have the same parent module: for a ResNet the stem, then the blocks per stage.
        width: Channels of the last unit's output; None if any will do.
        grouped: Whether it has convolutions of several groups that are not depthwise.
        dilated: Whether its units have dilated convolutions; None if they may.
        last_weights: Weights of the last unit's convolutions, which tell a ResNet from wider ones; None if any will do.
        pyramid: Whether it has dilated convolutions behind its units, as DeepLabV3 has.
    """

    runs: tuple[int, ...]
    width: int | None = None
    grouped: bool = False
    dilated: bool | None = False
    last_weights: int | None = None
    pyramid: bool = False

    def covers(self, other: Form) -> bool:
        """Whether a network is of this form.

        Args:
            other: The network's own, without None.

        Returns:
            True if it is.
        """
        return all(wanted in (None, found) for wanted, found in zip(self, other, strict=True))


_BOTTLENECK = 2 * 512 * 2048 + 9 * 512 * 512
_RESNEXT_BOTTLENECK = 2 * 2048 * 2048 + 9 * 2048 * 2048 // 32


NETWORKS = {
    "resnet32": Form((1, 5, 5, 5)),
    "resnet110": Form((1, 18, 18, 18)),
    "resnet34": Form((1, 3, 4, 6, 3), 512),
    "resnet50": Form((1, 3, 4, 6, 3), 2048, last_weights=_BOTTLENECK),
    "resnet101": Form((1, 3, 4, 23, 3), 2048, last_weights=_BOTTLENECK),
    "resnet152": Form((1, 3, 8, 36, 3), 2048, last_weights=_BOTTLENECK),
    "resnext101_32x8d": Form((1, 3, 4, 23, 3), 2048, grouped=True, last_weights=_RESNEXT_BOTTLENECK),
    "deeplabv3_resnet101": Form((1, 3, 4, 23, 3), 2048, dilated=None, last_weights=_BOTTLENECK, pyramid=True),
    "vgg13": Form((10,), 512),
    "vgg19": Form((16,), 512),
    "mobilenet_v2": Form((19,), 1280),
    "efficientnet_b0": Form((1, 1, 2, 2, 3, 3, 4, 1, 1), 1280),
    "regnet_x_400mf": Form((1, 1, 2, 7, 12), 400, grouped=True),
    "vit_b_16": Form((1, 12)),
}
"""The networks of the published cuts, whoever built them; a vision transformer of twelve layers may have any width."""


def known_network(network: nn.Module, units: Sequence[Unit]) -> str | None:
    """Which of the networks with published cuts a network is.

    Args:
        network: Any network.
        units: Its units.

    Returns:
        A key of `NETWORKS`; None if it is none of them.
    """
    runs = tuple(len(list(run)) for _, run in groupby(unit.name.rpartition(".")[0] for unit in units))
    shape = units[-1].out_shape
    width = shape[0] if len(shape) == 3 else shape[-1]
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    grouped = any(1 < conv.groups < conv.in_channels for conv in convs.values())
    inside = tuple(f"{unit.name}." for unit in units)
    reaching = [f"{name}.".startswith(inside) for name, conv in convs.items() if max(conv.dilation) > 1]
    last = [module for module in network.get_submodule(units[-1].name).modules() if isinstance(module, nn.Conv2d)]
    form = Form(runs, width, grouped, any(reaching), sum(conv.weight.numel() for conv in last), not all(reaching))
    found = (name for name, known in NETWORKS.items() if known.covers(form))
    return next(found, None)


def _ending(name: str, *ends: tuple[int, int]) -> dict[tuple[str, int], tuple[int, ...]]:
    """The entry of a ResNet whose blocks end after `(stage, block)`: the stem is stage 0, blocks count from 0."""
    runs = NETWORKS[name].runs
    stops = [sum(runs[:stage]) + block + 1 for stage, block in ends]
    return {(name, len(ends) + 1): tuple(b - a for a, b in pairwise([0, *stops, sum(runs)]))}


def _single(name: str) -> dict[tuple[str, int], tuple[int, ...]]:
    count = sum(NETWORKS[name].runs)
    return {(name, count): (1,) * count}


def _stem_joins(name: str) -> dict[tuple[str, int], tuple[int, ...]]:
    """Every residual block by itself, the stem with the first; also under the number that counts the stem."""
    count = sum(NETWORKS[name].runs)
    return {(name, blocks): (2, *[1] * (count - 2)) for blocks in (count - 1, count)}


_IRREGULAR_32 = (3, 1, 2, 1, 2, 2, 2, 2, 1, 2, 1, 2, 1, 2, 1, 2, 2, 2, 2, 1, 2, 1, 2, 2, 1, 2, 1, 2, 2, 2, 2, 2)
_EVEN = {("resnet32", blocks): tuple(even_sizes(16, blocks)) for blocks in (4, 8, 16)}
_EVEN |= {("resnet110", blocks): tuple(even_sizes(55, blocks)) for blocks in (4, 8, 16)}
_LARGER_FIRST = {
    ("resnet32", 2): (8, 8), ("resnet32", 3): (6, 5, 5), ("resnet110", 2): (28, 27), ("resnet110", 3): (19, 18, 18),
}  # fmt: skip
_CIFAR_MAN = {("resnet110", 32): _IRREGULAR_32} | _stem_joins("resnet32") | _stem_joins("resnet110")
_AUGLOCAL_CIFAR = {
    (name, blocks): (*[1] * (blocks - 1), units - blocks + 1)
    for name, units, counts in (("resnet32", 16, (*range(2, 14), 16)), ("resnet110", 55, range(47, 56)))
    for blocks in counts
}
_DEEP = ("resnet101", "resnet152", "resnext101_32x8d")

Cuts = dict[tuple[str, int], tuple[int, ...]]

PRESETS: dict[str, Cuts] = {
    "auglocal": _AUGLOCAL_CIFAR
    | _single("resnet34")
    | _single("resnet50")
    | _single("resnet101")
    | _single("vgg13")
    | _single("vgg19")
    | _single("mobilenet_v2")
    | _single("regnet_x_400mf")
    | {("efficientnet_b0", 17): (1,) * 17},
    "infopro": _EVEN
    | _LARGER_FIRST
    | _ending("resnet101", (2, 0))
    | _ending("resnet152", (2, 5))
    | _ending("resnext101_32x8d", (2, 2))
    | _ending("deeplabv3_resnet101", (3, 12)),
    "infopro_balanced": {("resnet110", 2): (16, 39), ("resnet110", 3): (11, 11, 33), ("resnet110", 4): (8, 8, 12, 27)},
    "infopro_balanced_stl10": {
        ("resnet110", 2): (16, 39), ("resnet110", 3): (10, 11, 34), ("resnet110", 4): (8, 8, 12, 27),
    },
    "man": _EVEN
    | _LARGER_FIRST
    | _CIFAR_MAN
    | _ending("resnet34", (2, 0))
    | _ending("resnet50", (2, 0))
    | _ending("resnet101", (2, 0))
    | _ending("resnet152", (2, 5))
    | _ending("resnext101_32x8d", (2, 0))
    | _ending("resnet34", (2, 0), (3, 0), (3, 5))
    | {key: sizes for name in _DEEP for key, sizes in _ending(name, (3, 0), (3, 9), (3, 17)).items()}
    | _single("vgg13")
    | {("vit_b_16", 6): (3, 2, 2, 2, 2, 2)},
    "man_plus_plus": _ending("resnet101", (2, 2), (3, 8), (3, 16))
    | _ending("resnext101_32x8d", (2, 2), (3, 8), (3, 16))
    | _ending("resnet152", (2, 6), (3, 13), (3, 25))
    | {("vit_b_16", 4): (4, 3, 3, 3)},
    "memory_balanced": _ending("resnet101", (1, 1), (2, 2), (3, 8))
    | _ending("resnext101_32x8d", (1, 1), (2, 2), (3, 8)),
    "mlaan": {key: _EVEN[key] for key in [("resnet32", 8)]}
    | _CIFAR_MAN
    | _stem_joins("resnet34")
    | _stem_joins("resnet101")
    | _stem_joins("resnet152"),
}  # fmt: skip
"""Units per block by preset, network and named number of blocks; units that remain belong to the head.

`infopro` on DeepLabV3 counts the units of its backbone. `auglocal` leaves EfficientNet's last 1x1 convolution to the
head, as the appendix counts 17 layers. No cut is published for K=8 on ImageNet nor for K=4 on Cityscapes.

Source: `auglocal`: ChenxiangMA/AugLocal, networks/configs.py (single units, then all the rest) and
    exp_imagenet/networks/configs.py; mobile networks: Ma et al., ICLR 2024, appendix A.4. `infopro` and
    `infopro_balanced`: blackfeather-wang/InfoPro-Pytorch at a38362a, networks/configs.py, the ImageNet networks'
    resnet.py, and mmseg/models/backbones/resnet.py. `man`: JunhaoSu0/MAN at a6d20c5, networks/config.py, where the stem
    joins the first residual block, so that the lists named 16 and 55 make 15 and 54 blocks, and configs.py; K=4 on
    ImageNet: its commits 3eee558 to 8047fb2. VGG13 has one convolution per block; the paper cuts a vision transformer
    into six blocks and does not say where, two layers each is the even reading. `man_plus_plus`:
    JunhaoSu0/MAN_PlusPlus. `mlaan`: Wendy231015/MLAAN at 70effbe, networks/config2.py, and its ImageNet networks
    (one residual block each; for ResNet-152, whose list is missing, likewise). `memory_balanced` is no paper's: blocks
    of about equal activations, found by trial.
"""


def published_sizes(preset: str, network: str | None, num_units: int, num_blocks: int | None) -> tuple[int, ...]:
    """Units per block as a paper or its released code has them.

    Args:
        preset: A key of `PRESETS`.
        network: A key of `NETWORKS`; None for any other network.
        num_units: How many units the network has, for messages.
        num_blocks: K as the paper names it.

    Returns:
        Units per block; where the stem joins a block, one block fewer than named. Units that remain are the head's.

    Raises:
        InputError: There is no such preset, or none for this network and K.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(f"There are no published cuts named {preset!r}. {hint}The presets are {', '.join(PRESETS)}.")
    table = PRESETS[preset]
    if network is None or num_blocks is None or (network, num_blocks) not in table:
        raise InputError(_missing(preset, network, num_units, num_blocks))
    return table[network, num_blocks]


def _missing(preset: str, network: str | None, num_units: int, num_blocks: int | None) -> str:
    own = [f"K={blocks}" for name, blocks in sorted(PRESETS[preset]) if name == network]
    if own:
        offered = f"for {network} it has {', '.join(own)}."
    else:
        offered = f"it is for {', '.join(dict.fromkeys(name for name, _ in PRESETS[preset]))}."
    elsewhere = [f"{other!r}" for other, table in PRESETS.items() if (network, num_blocks) in table]
    also = f" That cut is in the presets {', '.join(elsewhere)}." if elsewhere else ""
    who = network or "this network, which has no published cuts,"
    return (
        f"The preset {preset!r} has no cut of {who} of {num_units} units into {num_blocks} blocks; {offered}{also} "
        "Without a preset, balance='memory' shares the memory evenly."
    )
