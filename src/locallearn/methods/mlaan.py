"""MLAAN: overlapping windows of blocks, with heads that leap to copies of later units."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from locallearn.abstract_method import Context, Method, Site, Window, one_window_per_block
from locallearn.averaging import Averaging
from locallearn.errors import InputError, listed
from locallearn.methods.dgl import DGL

if TYPE_CHECKING:
    from torch import nn

    from locallearn.abstract_method import Head
    from locallearn.objective import LocalObjective
    from locallearn.partitioning import Partition


@dataclass(frozen=True, kw_only=True)
class MLAAN(Averaging):
    r"""Multilaminar Leap Augmented Auxiliary Network over any method with local losses.

    .. math::
        L = \sum_i \bigl( w_x\,L^\mathrm{base}(x_i) + w_y\,L^\mathrm{base}(z_i) \bigr), \qquad
        z_i = A_i^p \circ \dots \circ A_i^2 \bigl( A_i^1(y_i) + E_i^1(y_i) \bigr)

    where :math:`x_i` is the output of block i for a detached input (the independent window), :math:`y_i` the same
    output, with gradients to the c blocks i-c+1 to i (the cascade), and :math:`A_i^j`, :math:`E_i^j` are copies of
    later units, the leap layers. The last cascade ends in the network's own classifier. Blocks run once per step;
    gradients are sent through overlapping windows one window after another.

    Source: Zhang, Zhang, Wang, Zhu, Guan, Su, Liu, Cai. MLAAN: Scaling Supervised Local Learning with Multilaminar Leap
        Augmented Auxiliary Network. AAAI 2025. Authors' code: Wendy231015/MLAAN at 70effbe, networks/resnetMLAAN.py,
        resnetDGLbin.py and configAuxPlus_new.py.
    Departures: Paper and code differ, and both are here. `MLAAN_CODE` (name `mlaan_code`) is the released CIFAR code
        with c = 2: leaps on cascades, the first with a frozen averaged twin, of which only the last block's ever moves.
        `MLAAN_PAPER` (`mlaan_paper`): c = 3, leaps on the independent windows, every copy learns and is then pulled
        towards its source. The paper gives no weights of the losses, which are 1 there, no momentum, and no list of
        leap layers. Its equations let a block learn from its independent loss alone, which would leave the cascades
        without effect on the network, so here they act as in the code; it shares one cascaded head per block among all
        cascades that hold the block, here every cascade has its own, as in the code. The defaults are the code's but
        for the leap layers (by the rule), the averages (all move) and the order (after the step). The code runs every
        block again for each window, so that running statistics of BatchNorm move c + 1 times per batch, here once;
        values and gradients are the same. Heads and twins that the code builds and never evaluates are left out. Its
        momentum is 1 by default, which never moves; its run files have 0.999, 0.998 and 0.995. Copies start equal to
        their sources, in the ImageNet code independent. The code with InfoPro trains the twins and scores independent
        windows by a contrastive loss; here both kinds of windows use the base as it is.

    Args:
        base: The method whose heads and losses score the windows; alone, MLAAN has linear heads.
        cascade: c, how many blocks a cascade holds; with at most c blocks there is one, over all. 1 is one window per
            block (with leaps), without independent ones, whatever `first_blocks` and `output` say.
        stride: Blocks between the ends of two cascades.
        independent_weight: :math:`w_x`.
        cascade_weight: :math:`w_y`; the last cascade weighs 1.
        first_blocks: `"skipped"`: the first c - 1 blocks learn from cascades alone. `"independent"`: they have
            independent windows like all others.
        output: `"cascade"`: only the last cascade reads the network's output. `"both"`: so does an independent window
            of the last block, with the two weights, as in the released ImageNet code.
        leap: Which windows have leap layers: `"cascade"`, `"independent"`, `"both"` or `"none"`.
        leap_layers: `"rule"`: chosen by shape, see `leap_by_rule`. `"released"`: the code's tables for CIFAR ResNets.
        most_layers: p, at most so many leap layers by the rule.
        averaging: `"twin_first"`: the first leap layer is a trained copy plus an averaged one, the others are trained.
            `"twin_all"`: every one is such a sum. `"pulled"`: every one is one copy that learns and follows its source.
        averaged_blocks: `"all"`: every averaged copy moves. `"last"`: only those of the last local block, the released
            CIFAR code's defect; the others keep their initial values.

    Raises:
        InputError: A number is out of its range.
    """

    base: Method = field(default=DGL(head="linear"), kw_only=False)
    cascade: int = 2
    stride: int = 1
    independent_weight: float = 0.001
    cascade_weight: float = 0.999
    first_blocks: Literal["skipped", "independent"] = "skipped"
    output: Literal["cascade", "both"] = "cascade"
    leap: Literal["cascade", "independent", "both", "none"] = "cascade"
    leap_layers: Literal["rule", "released"] = "rule"
    most_layers: int = 4
    averaging: Literal["twin_first", "twin_all", "pulled"] = "twin_first"
    averaged_blocks: Literal["all", "last"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = [
            f"MLAAN's {name} is a number of {what}, at least 1, not {value}."
            for name, what, value in (
                ("cascade", "blocks", self.cascade),
                ("stride", "blocks", self.stride),
                ("most_layers", "units", self.most_layers),
            )
            if value < 1
        ]
        problems += [
            f"MLAAN's {name} is the weight of a loss and must be positive and finite, not {value}."
            for name, value in (
                ("independent_weight", self.independent_weight),
                ("cascade_weight", self.cascade_weight),
            )
            if not 0 < value < math.inf
        ]
        if self.cascade == 1 and self.leap == "independent":
            problems.append(
                "MLAAN with cascade=1 has no independent windows to leap from; use leap='cascade' or 'none'."
            )
        if problems:
            raise InputError(listed(problems))

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        count, length = len(partition.blocks), self.cascade
        last_weight = self.base.windows(partition)[-1].weight
        if length == 1 or count == 1:
            return tuple(
                window._replace(role="cascade", weight=last_weight if window.stop == count else 1.0)
                for window in one_window_per_block(count)
            )
        windows = []
        for end in range(1, count):
            if end >= length or self.first_blocks == "independent":
                windows.append(Window(end - 1, end, "independent", self.independent_weight))
            if end >= length and (end - length) % self.stride == 0:
                windows.append(Window(end - length, end, "cascade", self.cascade_weight))
        both = self.output == "both"
        if both:
            windows.append(Window(count - 1, count, "independent", self.independent_weight * last_weight))
        last_weight *= self.cascade_weight if both else 1.0
        return (*windows, Window(max(count - length, 0), count, "cascade", last_weight))

    @override
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        leaps = self._leaps(site, context) if self.leap in (window.role, "both") else ()
        if not leaps:
            return self.base.objective(window, site, context, head=head)
        layers, averaged = [], []
        for place, index in enumerate(leaps):
            layer, following = self._layer(place, index, context)
            layers.append(layer)
            averaged += following
        moved = replace(site, unit=leaps[-1], shape=context.units[leaps[-1]].out_shape)
        moves = self.averaged_blocks == "all" or site.index == site.count - 1
        objective = self.base.objective(window, moved, context, head=head)
        frozen = [] if self.averaging == "pulled" else averaged
        return self.look_ahead(layers, objective, averaged if moves else [], frozen)

    def _leaps(self, site: Site, context: Context) -> tuple[int, ...]:
        from locallearn.auxiliary.leap_layers import leap_as_released, leap_by_rule

        units = context.units
        if self.leap_layers == "rule":
            return leap_by_rule(units, site.unit, self.most_layers)
        leaps = leap_as_released(len(units), len(context.partition.blocks), site.unit)
        shape = site.shape
        for index in leaps:
            if units[index].in_shape != shape:
                raise InputError(
                    f"MLAAN cannot leap from unit {site.unit} ({units[site.unit].name}) to units {list(leaps)}: unit "
                    f"{index} ({units[index].name}) reads {units[index].in_shape}, and the features before it have "
                    f"shape {shape}. The released tables are for CIFAR ResNet-32 and -110; use leap_layers='rule'."
                )
            shape = units[index].out_shape
        return leaps

    def _layer(self, place: int, index: int, context: Context) -> tuple[nn.Module, list[nn.Module]]:
        """A leap layer, and its copies that follow the network."""
        from locallearn.auxiliary.ahead_layer import AheadLayer

        trained = self.copied(context, index)
        if self.averaging == "pulled":
            return AheadLayer(averaged=trained), [trained]
        if self.averaging == "twin_first" and place > 0:
            return AheadLayer(learned=trained), []
        twin = self.copied(context, index).requires_grad_(False)
        return AheadLayer(averaged=twin, learned=trained), [twin]


MLAAN_CODE: dict[str, Any] = {
    "cascade": 2,
    "stride": 1,
    "independent_weight": 0.001,
    "cascade_weight": 0.999,
    "first_blocks": "skipped",
    "output": "cascade",
    "leap": "cascade",
    "leap_layers": "released",
    "averaging": "twin_first",
    "averaged_blocks": "last",
    "momentum": 0.995,
    "update": "before_step",
    "start": "equal",
    "buffers": "own",
}
"""What the released CIFAR code does; over DGL and InfoPro it has `cascade=3`. Source: Wendy231015/MLAAN at 70effbe."""

MLAAN_PAPER: dict[str, Any] = {
    "cascade": 3,
    "stride": 1,
    "independent_weight": 1.0,
    "cascade_weight": 1.0,
    "first_blocks": "independent",
    "output": "cascade",
    "leap": "independent",
    "leap_layers": "rule",
    "most_layers": 4,
    "averaging": "pulled",
    "averaged_blocks": "all",
    "momentum": 0.995,
    "update": "after_step",
    "start": "equal",
    "buffers": "own",
}
"""What the paper says, completed where it is open. Source: Zhang et al., AAAI 2025, equations 3 to 12 and Figure 2c."""
