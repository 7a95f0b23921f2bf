"""AugLocal: every block's head is a small network modelled on layers from all over the rest of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from typing_extensions import override

from locallearn.abstract_method import Context, Method, Site, Window, Wrapper, sites
from locallearn.errors import InputError, listed
from locallearn.methods.dgl import DGL
from locallearn.predicting import Predicting

if TYPE_CHECKING:
    from torch import nn

    from locallearn.abstract_method import Head
    from locallearn.auxiliary.unit_pattern import UnitPattern
    from locallearn.objective import LocalObjective
    from locallearn.partitioning import Partition


@dataclass(frozen=True, kw_only=True)
class AugLocal(Predicting, Wrapper):
    r"""Augmented auxiliary networks in place of a method's prediction heads.

    The head of local block i, whose last unit is l of n, has :math:`D_i` fresh layers of the kinds of the units

    .. math::
        S_l = \{\mathrm{round}(l + \tfrac{n-1-l}{D_i}\,j) : j = 1, \dots, D_i\}, \qquad
        D_i = \max(1, \mathrm{round}(D(1-u_i) + u_i)), \quad u_i = i\tau/(M-2)

    (all later units where there are at most :math:`D_i`; M windows, of which M-1 are local), then global average
    pooling and a linear layer, or the head that the task calls for. No weights are shared or copied. The base's losses
    stay as they are.

    Source: Ma, Wu, Si, Tan. Scaling Supervised Local Learning with Augmented Auxiliary Networks. ICLR 2024, with the
        appendix for the ablations (Table 5) and the comparison at equal cost (Table 4). Authors' code:
        ChenxiangMA/AugLocal, networks/resnet.py and networks/auxiliary_nets.py.
    Departures: The released CIFAR code infers strides from channel ratios (`downsampling="channel_ratio"`), here they
        come from the observed resolutions; on ResNets both agree. The tail rule counts units, so that
        blocks of several units are merged only where a head would copy the rest of the network; the code has one unit
        per block. The released ImageNet code has neither the tail rule, nor the pyramid, nor BatchNorm at depth one:
        `tail="kept", tau=0, norm_at_depth_one=False`. The authors released no networks but ResNets and VGG; see
        `auxiliary.later_layers.LaterLayers` for all others. With the InfoPro loss the authors leave weights and code
        open; here the base's own count.

    Args:
        base: The method whose losses read the heads.
        depth: D, the largest number of hidden layers in a head; the paper counts the classifier too, d = D + 1.
        tau: How fast the depth falls towards 1 along the network, from 0 to 1.
        tail: `"merged"`: from the first block with at most D units after it, all blocks are one window, trained through
            the network's own classifier; a network of few units becomes one window, which is back-propagation.
            `"kept"`: windows as the base has them.
        layers: `"selected"`: see above. `"conv3x3"`: D + 1 convolutions of the feature's width at a quarter of the
            resolution, whatever the block.
        downsampling: `"observed"`: a layer halves the resolution where its unit's output is smaller than the feature.
            `"channel_ratio"`: once for each doubling of the channels, the released rule. `"none"`: never. Layers of
            kinds without a stride of their own to choose are as in the network under any rule.
        norm_at_depth_one: BatchNorm before the classifier of heads with :math:`D_i = 1`, as the released code has it.
        repeated: Stages, numbered as `Unit.stage`, whose heads consist of D layers of the kind of the stage's own.
        repeated_halving: Those of them whose heads' first layer halves the resolution.
        match_flops: With `layers="conv3x3"`: multiply the widths of all heads by one factor, such that network and
            heads cost as many forward multiply-accumulates as with `layers="selected", tail="merged"`, within 1 %.

    Raises:
        InputError: A number is out of its range, or fields exclude each other.
    """

    base: Method = field(default=DGL(), kw_only=False)
    depth: int = 2
    tau: float = 0.5
    tail: Literal["merged", "kept"] = "merged"
    layers: Literal["selected", "conv3x3"] = "selected"
    downsampling: Literal["observed", "channel_ratio", "none"] = "observed"
    norm_at_depth_one: bool = True
    repeated: tuple[int, ...] = ()
    repeated_halving: tuple[int, ...] = ()
    match_flops: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if self.depth < 1:
            problems.append(f"AugLocal's depth is a number of hidden layers, at least 1, not {self.depth}.")
        if not 0 <= self.tau <= 1:
            problems.append(f"AugLocal's tau lies between 0 (constant depth) and 1, not at {self.tau}.")
        if strangers := sorted(set(self.repeated_halving) - set(self.repeated)):
            problems.append(
                f"AugLocal's repeated_halving names the stages {strangers}, which are not in repeated={self.repeated}; "
                "add them there."
            )
        if isinstance(self.base, Predicting) and self.base.tokens not in ("mean", self.tokens):
            problems.append(
                f"AugLocal builds the heads, so its base's tokens={self.base.tokens!r} has no effect: give "
                f"AugLocal(..., tokens={self.base.tokens!r})."
            )
        if self.layers == "conv3x3" and self.repeated:
            problems.append(f"AugLocal's repeated={self.repeated} has no effect with layers='conv3x3'; leave one out.")
        if self.layers != "conv3x3" and self.match_flops:
            problems.append("AugLocal's match_flops changes the heads of layers='conv3x3' only; ask for them.")
        if self.match_flops and isinstance(self.base, Wrapper):
            problems.append(
                "AugLocal's match_flops counts one head per block, where the block ends, which "
                f"{type(self.base).__name__} changes; lay AugLocal over DGL, PredSim or InfoPro."
            )
        if problems:
            raise InputError(listed(problems))

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        stages = partition.units[-1].stage
        if strangers := [stage for stage in self.repeated if not 0 <= stage <= stages]:
            raise InputError(f"AugLocal's repeated names the stages {strangers}; the network has 0 to {stages}.")
        windows = self.base.windows(partition)
        if self.tail == "kept":
            return windows
        first = _first_merged(partition, self.depth)
        local = [window for window in windows[:-1] if window.stop <= first]
        return (*local, windows[-1]._replace(start=max((window.stop for window in local), default=0)))

    @override
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        def own_head(site: Site, num_outputs: int) -> nn.Module:
            return self._head(site, num_outputs, context)

        return self.base.objective(window, site, context, head=head or own_head)

    def _head(self, site: Site, num_outputs: int, context: Context) -> nn.Module:
        from locallearn.auxiliary.conv_stack import ConvStack

        if self.layers == "selected":
            return self._selected(site, num_outputs, context.partition, context.task.head)
        if context.task.head(site.shape) is not None:
            raise InputError(
                f"AugLocal's layers='conv3x3' end in a classifier of whole samples, and {type(context.task).__name__} "
                "calls for a head of its own; use layers='selected'."
            )
        factor = self._multiplier(num_outputs, context.partition) if self.match_flops else 1.0

        def stack(site: Site, num_outputs: int) -> nn.Module:
            return ConvStack(site.shape, num_outputs, convolutions=self.depth + 1, multiplier=factor)

        return self.sample_head(site, num_outputs, stack)

    def _selected(
        self, site: Site, num_outputs: int, partition: Partition, ending: Callable[..., nn.Module | None] | None = None
    ) -> nn.Module:
        from locallearn.auxiliary import later_layers

        patterns = self._patterns(site, partition)
        if partition.units[site.unit].stage in self.repeated:
            halves = partition.units[site.unit].stage in self.repeated_halving
            halving = later_layers.at_first() if halves else later_layers.never
        elif self.downsampling == "channel_ratio":
            halving = later_layers.by_channel_ratio(_pattern(partition, site.unit))
        else:
            halving = later_layers.observed if self.downsampling == "observed" else later_layers.never
        norm = self.norm_at_depth_one and self._depth(site, partition) == 1
        return later_layers.LaterLayers(
            site.shape, num_outputs, patterns, halving, norm=norm, tokens=self.tokens, ending=ending
        )

    def _depth(self, site: Site, partition: Partition) -> int:
        from locallearn.auxiliary.layer_selection import pyramidal_depth

        if partition.units[site.unit].stage in self.repeated:
            return self.depth
        return pyramidal_depth(self.depth, self.tau, site.index, site.count)

    def _patterns(self, site: Site, partition: Partition) -> list[UnitPattern]:
        from locallearn.auxiliary.layer_selection import uniform_selection

        depth = self._depth(site, partition)
        if partition.units[site.unit].stage in self.repeated:
            return [_pattern(partition, _repeatable(partition, site.unit))] * depth
        return [_pattern(partition, unit) for unit in uniform_selection(site.unit, len(partition.units), depth)]

    def _multiplier(self, num_outputs: int, partition: Partition) -> float:
        """The factor of `match_flops`, solved once for all heads of a partition."""
        known = _MULTIPLIERS.setdefault(partition, {})
        if (self, num_outputs) not in known:
            known[self, num_outputs] = self._solved_multiplier(num_outputs, partition)
        return known[self, num_outputs]

    def _solved_multiplier(self, num_outputs: int, partition: Partition) -> float:
        from locallearn.auxiliary.conv_stack import matching_multiplier
        from locallearn.auxiliary.forward_macs import forward_macs
        from locallearn.auxiliary.own_copy import own_copy

        target = replace(self, layers="selected", tail="merged", match_flops=False)._macs(num_outputs, partition)
        shapes = [
            site.shape[1:] if len(site.shape) == 2 else site.shape for site in sites(self.windows(partition), partition)
        ]
        factor, found = matching_multiplier(shapes, num_outputs, convolutions=self.depth + 1, target=target)
        if abs(found - target) > 0.01 * target:
            network = forward_macs(lambda: own_copy(partition.network), partition.input_shape)
            if abs(found - target) > 0.01 * (target + network):
                raise InputError(
                    "match_flops finds no width of the 3x3 convolutions that costs what AugLocal's heads cost, "
                    f"{target} multiply-accumulates in all: the nearest is {found}, and channels are whole. Leave "
                    "match_flops out, or use another depth."
                )
        return factor

    def _macs(self, num_outputs: int, partition: Partition) -> int:
        """Forward multiply-accumulates of all heads of selected layers; equal heads are built and counted once."""
        from locallearn.auxiliary.forward_macs import forward_macs

        alike: dict[object, list[Site]] = {}
        for site in sites(self.windows(partition), partition):
            kinds = (pattern.kind for pattern in self._patterns(site, partition))
            alike.setdefault((site.shape, *kinds), []).append(site)
        return sum(
            len(equal) * forward_macs(partial(self._selected, equal[0], num_outputs, partition), equal[0].shape)
            for equal in alike.values()
        )


_MULTIPLIERS: WeakKeyDictionary[Partition, dict[tuple[AugLocal, int], float]] = WeakKeyDictionary()


def _first_merged(partition: Partition, depth: int) -> int:
    """The first block whose last unit has at most so many units after it."""
    last = len(partition.units) - 1
    return next(info.index for info in partition.infos if last - (info.units.stop - 1) <= depth)


def _repeatable(partition: Partition, unit: int) -> int:
    """The nearest unit, itself and later ones first, that keeps the shape of a unit's output; else the unit itself."""
    shape = partition.units[unit].out_shape
    keeping = [other.index for other in partition.units if other.in_shape == other.out_shape == shape]
    return min(keeping, key=lambda index: (index < unit, abs(index - unit)), default=unit)


def _pattern(partition: Partition, index: int) -> UnitPattern:
    from locallearn.auxiliary.unit_pattern import UnitPattern, chained_modules

    unit, traced = partition.units[index], partition.traced
    nodes = traced.nodes[traced.bounds[index] : traced.bounds[index + 1]]
    modules = chained_modules(partition.network, nodes, traced.carriers[index], traced.carriers[index + 1])
    return UnitPattern(unit.name, unit.in_shape, unit.out_shape, modules, lambda: partition.copy_unit(index))
