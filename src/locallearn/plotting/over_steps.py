"""Curves over the course of training, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from locallearn.plotting.chart import chart, legend_below, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKED = 30


def over_steps(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float | None]]],
    *,
    title: str,
    x: str,
    value: str,
    log: bool = False,
) -> Figure:
    """Draw what was measured over epochs, steps, seconds or operations.

    Args:
        curves: For each line's name its places along the axis, rising, and as many values; None where there is none.
        title: Heading.
        x: What lies along, with its unit.
        value: What the values are, with their unit.
        log: Whether values are on a logarithmic axis; those that are not positive are left out then.

    Returns:
        The figure; draw it inside of `styled`.
    """
    figure, axes = chart(title=title, x=x, value=value)
    for place, (name, (places, values)) in enumerate(curves.items()):
        pairs = zip(places, values, strict=True)
        shown = [(at, height) for at, height in pairs if height is not None and not (log and height <= 0)]
        (line,) = axes.plot([at for at, _ in shown], [height for _, height in shown], label=name, **look(place))
        line.set_linewidth(1.6)
        if len(shown) > _MARKED:
            line.set_marker("None")
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
    legend_below(figure)
    return figure
