"""Curves over the depth of a network, a line for each run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from locallearn.plotting.chart import chart, legend_below, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def over_depth(
    curves: Mapping[str, Sequence[float | None]],
    *,
    title: str,
    value: str,
    spreads: Mapping[str, Sequence[float | None]] | None = None,
) -> Figure:
    """Draw what was measured at every block.

    Args:
        curves: For each line's name a value for each block; None where there is none.
        title: Heading.
        value: What the values are, with their unit.
        spreads: Half the length of error bars; None where a block has none.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = chart(title=title, x="block", value=value)
    for place, (name, values) in enumerate(curves.items()):
        blocks = [index for index, each in enumerate(values, 1) if each is not None]
        heights = [each for each in values if each is not None]
        spread = None
        if spreads and name in spreads:
            spread = [math.nan if (half := spreads[name][index - 1]) is None else half for index in blocks]
        axes.errorbar(blocks, heights, yerr=spread, label=name, linewidth=1.6, capsize=2, **look(place))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure)
    return figure
