"""A picture of what more workers would bring, and what they would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.plotting.chart import byte_scale, legend_below
from locallearn.plotting.figure_file import COLORS, INK, save_figure, styled
from locallearn.simulation.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES: tuple[dict[str, Any], ...] = (
    {"color": COLORS[0], "linewidth": 2.4, "marker": "o", "markersize": 4.5},
    {"color": COLORS[1], "linewidth": 1.4, "marker": "s", "markersize": 3.5},
    {"color": COLORS[2], "linewidth": 1.4, "marker": "D", "markersize": 6.5, "markerfacecolor": "white"},
    {"color": COLORS[4], "linewidth": 1.4, "linestyle": "--"},
)


def save_plot(courses: Mapping[str, Sequence[Prediction]], path: Path, *, title: str, one_worker: float) -> None:
    """Draw throughput, throughput per worker and memory over the number of workers, a line for each schedule.

    Args:
        courses: For each line's name its predictions, by rising numbers of workers; four lines at most.
        path: File to write; its ending says how, as in `.png` or `.svg`.
        title: Heading.
        one_worker: Images per second of back-propagation on one worker, beside which workers are held.

    Raises:
        InputError: matplotlib is missing, or knows no such ending.
    """
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.5, 4.8), layout="constrained", dpi=150)
        places = figure.subplot_mosaic([["speed", "memory"], ["share", "memory"]], height_ratios=(1.7, 1))
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        workers = [each.workers for each in next(iter(courses.values()))]
        places["speed"].plot(workers, [one_worker * count for count in workers], ":", color=INK, linewidth=0.8)
        places["share"].axhline(100, linestyle=":", color=INK, linewidth=0.8)
        scale, unit = byte_scale(max(each.most_bytes for course in courses.values() for each in course))
        for style, (name, course) in enumerate(courses.items()):
            speeds = [each.images_per_second for each in course]
            shares = [100 * each.images_per_second / (each.workers * one_worker) for each in course]
            sizes = [each.most_bytes / scale for each in course]
            for place, values in (("speed", speeds), ("share", shares), ("memory", sizes)):
                places[place].plot(workers, values, label=name, zorder=4 - style, **_LINES[style])
        _finish(places["speed"], workers, "throughput in images/s (dotted: linear)")
        _finish(places["share"], workers, "throughput per worker in % of one worker's back-propagation")
        _finish(places["memory"], workers, f"memory of the fullest worker in {unit}")
        for place in ("speed", "memory"):
            places[place].set_yscale("log")
            places[place].yaxis.set_major_formatter("{x:,g}")
        places["speed"].set_xlabel("")
        places["share"].set_ylim(bottom=0)
        legend_below(figure)
        save_figure(figure, path)


def _finish(axes: Axes, workers: Sequence[int], title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("workers")
    axes.set_xscale("log", base=2)
    axes.set_xticks(workers, [f"{count:,}" for count in workers], minor=False)
