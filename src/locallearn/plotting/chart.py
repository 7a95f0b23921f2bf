"""What all charts have in common: one pair of axes, looks of lines, units of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locallearn.plotting.figure_file import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def chart(*, title: str, x: str, value: str) -> tuple[Figure, Axes]:
    """A figure of one chart.

    Args:
        title: Heading.
        x: What lies along, with its unit.
        value: What stands upright, with its unit.

    Returns:
        The figure and its axes; draw them inside of `styled`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.set_title(title, loc="left", weight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(value)
    return figure, axes


def look(place: int) -> dict[str, Any]:
    """How a line looks.

    Args:
        place: Which line of a chart, counted from 0.

    Returns:
        Keywords of matplotlib's `plot`; after all colours are used, markers change.
    """
    return {"color": COLORS[place % len(COLORS)], "marker": "os^Dv"[place // len(COLORS) % 5], "markersize": 4}


def legend_below(figure: Figure, *, columns: int = 4) -> None:
    """Name the lines below a figure, each name once.

    Args:
        figure: With labelled lines; their names are read from its first axes.
        columns: The most names in a row.
    """
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), columns))


def byte_scale(most: float) -> tuple[float, str]:
    """The unit in which sizes read well.

    Args:
        most: The largest number of bytes.

    Returns:
        Bytes of the unit, and its name.
    """
    return (2**30, "GiB") if most >= 4 * 2**30 else (2**20, "MiB")


def flops_scale(most: float) -> tuple[float, str]:
    """The unit in which numbers of operations read well.

    Args:
        most: The largest number of floating-point operations.

    Returns:
        Operations of the unit, and its name.
    """
    prefixes = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"))
    size, prefix = next((each for each in prefixes if most >= each[0]), (1e6, "M"))
    return size, f"{prefix}FLOP"
