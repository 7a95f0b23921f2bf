"""Lines of many blocks, coloured by their depth, a panel for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_DEPTHS = ("#4281a4", "#32908f", "#8a9a5b", "#c97b48", "#b8527a")
_COLUMNS = 3


@dataclass(frozen=True)
class DepthLine:
    """A line.

    Args:
        depth: Its block, counted from 1.
        places: Along the axis, rising.
        values: As many; None where there is none.
        dashed: Whether it is drawn so.
    """

    depth: int
    places: Sequence[float]
    values: Sequence[float | None]
    dashed: bool = False


def by_depth(panels: Mapping[str, Sequence[DepthLine]], *, title: str, x: str, value: str) -> Figure:
    """Draw lines from blue, of the first block, to red, of the last.

    Args:
        panels: For each run's name its lines.
        title: Heading.
        x: What lies along, with its unit.
        value: What the values are, with their unit.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.8 + 2.9 * columns, 0.9 + 2.7 * rows), layout="constrained", dpi=150)
    places = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    deepest = max((line.depth for lines in panels.values() for line in lines), default=1)
    colors, scale = depth_colors(), Normalize(1, max(deepest, 2))
    for axes, (name, lines) in zip(places, panels.items(), strict=False):
        axes.set_title(name, loc="left", fontsize=9)
        for line in lines:
            shown = [pair for pair in zip(line.places, line.values, strict=True) if pair[1] is not None]
            style = "--" if line.dashed else "-"
            along, heights = [at for at, _ in shown], [height for _, height in shown]
            axes.plot(along, heights, style, color=colors(scale(line.depth)), linewidth=1.3)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(value, fontsize=9)
    bar = figure.colorbar(ScalarMappable(scale, colors), ax=places, label="block", pad=0.02, aspect=30)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    bar.outline.set_visible(False)
    return figure


def depth_colors() -> Colormap:
    """Colours of blocks, which stand out from white pages and from dark ones.

    Returns:
        From 0, the first block, to 1, the last.
    """
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("depths", _DEPTHS)
