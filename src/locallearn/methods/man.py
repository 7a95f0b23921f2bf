"""MAN: every head reads the features through an averaged copy of the next block's first unit and a learnable bias."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from locallearn.abstract_method import Context, Method, Site, Window
from locallearn.averaging import Averaging
from locallearn.errors import InputError, listed
from locallearn.methods.dgl import DGL

if TYPE_CHECKING:
    from locallearn.abstract_method import Head
    from locallearn.objective import LocalObjective
    from locallearn.partitioning import Partition


@dataclass(frozen=True, kw_only=True)
class MAN(Averaging):
    r"""Momentum Auxiliary Network over any method with local losses.

    .. math::
        L_k = L^\mathrm{base}_k\bigl(E_k(h_k) + B_k(h_k)\bigr), \qquad
        \theta_{E_k} \leftarrow m\,\theta_{E_k} + (1-m)\,\theta_{k+1}

    where :math:`E_k` copies the first unit of block k+1, whose parameters are :math:`\theta_{k+1}`, and :math:`B_k` is
    the learnable bias. The base's heads are built for the shape that the copied unit returns, so stages may end
    anywhere.

    Source: Su, Cai, Zhu, He, Xu, Guan, Si. Momentum Auxiliary Network for Supervised Local Learning. ECCV 2024,
        equations 3 to 7. Authors' code: JunhaoSu0/MAN at a6d20c5, networks/resnetInfoPro_MAN.py. `"scaled_unit"`:
        JunhaoSu0/MAN_PlusPlus.
    Departures: Paper and code differ, and both are here. `MAN_CODE` (name `man_code`): the copy is frozen and only
        averaged, the bias is a whole trained copy of the unit, all start independently of each other, and the average
        is taken before the optimizer's step. `MAN_PAPER` (`man_paper`): one copy gets a gradient step and is then
        pulled towards its source; the paper leaves the bias open, which here is one number per channel, starting at
        zero. The defaults are the code's but for the start (equal) and the order (after the step). Copies match their
        sources by name, the code by order. More than one copied unit is in neither paper nor code. The code's momentum
        is 1 by default, which never moves; its README has 0.995.

    Args:
        base: The method whose heads and losses read the sum.
        units: How many of the next block's units are copied.
        copy: `"averaged"`: frozen, follows its source. `"pulled"`: learns, and follows its source. `"none"`: no copy.
        bias: `"unit"`: a trained copy of the same units, added. `"scaled_unit"`: the same, s times the bias plus 2 - s
            times the copy, with a learnable s that starts at 1. `"channel"`: one number per channel. `"none"`: no bias.

    Raises:
        InputError: Neither copy nor bias is left, or a bias lacks the copy that it belongs to.
    """

    base: Method = field(default=DGL(), kw_only=False)
    units: int = 1
    copy: Literal["averaged", "pulled", "none"] = "averaged"
    bias: Literal["unit", "scaled_unit", "channel", "none"] = "unit"

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if self.units < 1:
            problems.append(f"MAN's units is the number of units to copy, at least 1, not {self.units}.")
        if self.copy == "none" and self.bias != "unit":
            problems.append(f"MAN with copy='none' needs bias='unit', which stands alone, not bias={self.bias!r}.")
        if problems:
            raise InputError(listed(problems))

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        return self.base.windows(partition)

    @override
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        first = site.unit + 1
        following = next((info.units for info in context.partition.infos if first in info.units), None)
        if following is None:
            return self.base.objective(window, site, context, head=head)
        last = min(first + self.units, following.stop) - 1
        moved = replace(site, unit=last, shape=context.units[last].out_shape)
        return self._ahead(first, moved, context, self.base.objective(window, moved, context, head=head))

    def _ahead(self, first: int, moved: Site, context: Context, objective: LocalObjective) -> LocalObjective:
        from locallearn.auxiliary.ahead_layer import AheadLayer

        count = moved.unit + 1 - first
        copy = None if self.copy == "none" else self.copied(context, first, count)
        layer = AheadLayer(
            averaged=copy,
            learned=self.copied(context, first, count) if self.bias in ("unit", "scaled_unit") else None,
            scaled=self.bias == "scaled_unit",
            bias_of=moved.shape if self.bias == "channel" else None,
        )
        averaged = [copy] if copy else []
        frozen = [copy.requires_grad_(False)] if copy and self.copy == "averaged" else []
        return self.look_ahead([layer], objective, averaged, frozen)


MAN_CODE: dict[str, Any] = {
    "copy": "averaged",
    "bias": "unit",
    "momentum": 0.995,
    "update": "before_step",
    "start": "independent",
    "buffers": "own",
}
"""What the released code does. Source: JunhaoSu0/MAN at a6d20c5, networks/resnetInfoPro_MAN.py and README.md."""

MAN_PAPER: dict[str, Any] = {
    "copy": "pulled",
    "bias": "channel",
    "momentum": 0.995,
    "update": "after_step",
    "start": "equal",
    "buffers": "own",
}
"""What the paper's equations 5 to 7 say, completed where they are open. Source: Su et al., ECCV 2024."""
