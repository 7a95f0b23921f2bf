"""Small pictures in rows and columns, side by side for several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_TILE, _GAP, _ROOM = 64, 6, 18
_INCHES = 1 / 105


@dataclass(frozen=True, eq=False)
class TileRow:
    """Pictures beside each other.

    Args:
        name: What the row is.
        tiles: (M, rows, columns), from 0 to 1.
        labels: M words above them.
    """

    name: str
    tiles: NDArray[np.floating]
    labels: Sequence[str]


@dataclass(frozen=True, eq=False)
class Band:
    """What is shown of one image.

    Args:
        picture: The image, (rows, columns, 3), from 0 to 1.
        name: What it is.
        panels: For each run's name its rows.
    """

    picture: NDArray[np.floating]
    name: str
    panels: Mapping[str, Sequence[TileRow]]


def image_grid(bands: Sequence[Band], *, title: str, caption: str) -> Figure:
    """Draw images, and beside each what runs show of it.

    Args:
        bands: One for each image, below each other; all with panels of the same runs.
        title: Heading.
        caption: How it was made.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.figure import Figure

    widths = [2 * _TILE] + [max(map(_width, rows)) for rows in bands[0].panels.values()]
    heights = [max(_height(rows) for rows in band.panels.values()) for band in bands]
    size = (_INCHES * (sum(widths) + 90 * len(widths)), _INCHES * (sum(heights) + 60 * len(bands)) + 0.9)
    figure = Figure(figsize=size, dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    places = figure.subplots(len(bands), len(widths), width_ratios=widths, height_ratios=heights, squeeze=False)
    for line, band in zip(places, bands, strict=True):
        _draw_picture(line[0], band)
        for axes, (name, rows) in zip(line[1:], band.panels.items(), strict=True):
            _draw_rows(axes, name, rows)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=7)
    return figure


def _width(row: TileRow) -> int:
    return len(row.tiles) * (_TILE + _GAP) - _GAP


def _height(rows: Sequence[TileRow]) -> int:
    return len(rows) * (_TILE + _ROOM)


def _draw_picture(axes: Axes, band: Band) -> None:
    axes.imshow(band.picture, interpolation="nearest")
    axes.set_title(band.name, fontsize=8, loc="left")
    axes.set_anchor("N")
    axes.axis("off")


def _draw_rows(axes: Axes, name: str, rows: Sequence[TileRow]) -> None:
    from matplotlib import colormaps

    axes.set_title(name, loc="left", fontsize=9, weight="bold")
    axes.set_xlim(0, max(map(_width, rows)))
    axes.set_ylim(_height(rows), 0)
    axes.set_aspect("equal")
    axes.set_anchor("NW")
    axes.grid(False)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    places = [index * (_TILE + _ROOM) + _ROOM for index in range(len(rows))]
    axes.set_yticks([place + _TILE / 2 for place in places], [row.name for row in rows], fontsize=7)
    for top, row in zip(places, rows, strict=True):
        for column, (tile, label) in enumerate(zip(row.tiles, row.labels, strict=True)):
            left = column * (_TILE + _GAP)
            extent = (left, left + _TILE, top + _TILE, top)
            axes.imshow(colormaps["magma"](tile), extent=extent, interpolation="nearest")
            axes.text(left + _TILE / 2, top - 2, label, fontsize=5, ha="center", va="bottom", alpha=0.75)
    axes.set_xlim(0, max(map(_width, rows)))
    axes.set_ylim(_height(rows), 0)
