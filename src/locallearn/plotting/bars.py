"""Bars of one quantity, sorted into groups that are not ranked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from locallearn.plotting.chart import chart
from locallearn.plotting.figure_file import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW, _GAP = 0.26, 0.9
"""Inches that a bar takes, and bars that a heading of a group takes."""


def bars(groups: Mapping[str, Mapping[str, tuple[float, float | None]]], *, title: str, value: str) -> Figure:
    """Draw lying bars with their numbers written at the end; bars of one name have one colour.

    Args:
        groups: For each group's name the values by their names, each with its deviation, or None.
        title: Heading.
        value: What the values are, with their unit.

    Returns:
        The figure; draw it inside of `styled`.
    """
    from matplotlib.transforms import blended_transform_factory

    figure, axes = chart(title=title, x=value, value="")
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    places: list[float] = []
    labels: list[str] = []
    place = 0.0
    for heading, group in groups.items():
        whole = blended_transform_factory(figure.transFigure, axes.transData)
        axes.text(0.01, place, heading, weight="bold", va="center", transform=whole).set_in_layout(False)
        place += _GAP
        for name, (length, spread) in group.items():
            color = COLORS[names.index(name) % len(COLORS)]
            axes.barh(place, length, color=color, height=0.72)
            number = f"{length:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
            axes.annotate(number, (length, place), xytext=(4, 0), textcoords="offset points", va="center")
            places.append(place)
            labels.append(name)
            place += 1
        place += 0.3
    axes.set_yticks(places, labels)
    axes.set_ylim(place - 0.3, -0.6)
    axes.set_xlim(0, 1.15 * axes.get_xlim()[1])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    figure.set_size_inches(6.4, _ROW * (place + 3))
    return figure
