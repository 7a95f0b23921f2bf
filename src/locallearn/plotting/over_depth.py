"""Curves over the depth of a network, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from locallearn.plotting.figure_file import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def over_depth(
    curves: Mapping[str, Sequence[float | None]],
    *,
    title: str,
    value: str,
    spreads: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Draw what was measured at every block.

    Args:
        curves: For each line's name a value for each block; None where there is none.
        title: Heading.
        value: What the values are, with their unit.
        spreads: Half the length of error bars, where there are several seeds.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), layout="constrained", dpi=150)
    axes = figure.subplots()
    for place, (name, values) in enumerate(curves.items()):
        blocks = [index for index, each in enumerate(values, 1) if each is not None]
        heights = [each for each in values if each is not None]
        spread = [spreads[name][index - 1] for index in blocks] if spreads and name in spreads else None
        look = {"color": COLORS[place % len(COLORS)], "marker": "os^Dv"[place // len(COLORS) % 5], "markersize": 4}
        axes.errorbar(blocks, heights, yerr=spread, label=name, linewidth=1.6, capsize=2, **look)
    axes.set_title(title, loc="left", weight="bold")
    axes.set_xlabel("block")
    axes.set_ylabel(value)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)
    figure.legend(frameon=False, loc="outside lower center", ncols=min(len(curves), 4))
    return figure
