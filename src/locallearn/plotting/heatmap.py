"""Values for every pair of blocks of two networks, as panels of squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heatmap(panels: Mapping[str, Sequence[Sequence[float | None]]], *, title: str, columns: str, value: str) -> Figure:
    """Draw matrices side by side, by one scale of colours from 0 to 1; the first block is at the lower left.

    Args:
        panels: For each network's name a row for each of its blocks, with a value for each block of another network;
            None where there is none, which stays white.
        title: Heading.
        columns: Name of the other network.
        value: What the values are.

    Returns:
        The figure; draw it inside of `styled`.
    """
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(1.2 + 3.6 * len(panels), 4.0), layout="constrained", dpi=150)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    colours = ScalarMappable(Normalize(0, 1), "cividis")
    for axes, (name, matrix) in zip(row, panels.items(), strict=True):
        values = np.array(matrix, dtype=float)
        extent = (0.5, values.shape[1] + 0.5, 0.5, values.shape[0] + 0.5)
        axes.imshow(values, cmap=colours.cmap, norm=colours.norm, origin="lower", extent=extent, aspect="auto")
        axes.grid(visible=False)
        axes.set_xlabel(f"block of {columns}")
        axes.set_ylabel(f"block of {name}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title, weight="bold")
    figure.colorbar(colours, ax=list(row), label=value)
    return figure
