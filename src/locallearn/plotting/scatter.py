"""Points of two quantities, one for each name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from locallearn.plotting.chart import chart, legend_below, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scatter(
    points: Mapping[str, tuple[float, float]],
    *,
    title: str,
    x: str,
    value: str,
    spreads: Mapping[str, float] | None = None,
) -> Figure:
    """Draw two quantities against each other.

    Args:
        points: For each name its place along the axis and its height.
        title: Heading.
        x: What lies along, with its unit.
        value: What stands upright, with its unit.
        spreads: Half the length of upright error bars, where there are several seeds.

    Returns:
        The figure; draw it inside of `styled`.
    """
    figure, axes = chart(title=title, x=x, value=value)
    for place, (name, (along, height)) in enumerate(points.items()):
        shown = look(place) | {"markersize": 8, "linestyle": "none"}
        axes.errorbar([along], [height], yerr=(spreads or {}).get(name), label=name, capsize=3, **shown)
    axes.margins(0.15)
    axes.set_xlim(0, 1.12 * max(along for along, _ in points.values()))
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    legend_below(figure)
    return figure
