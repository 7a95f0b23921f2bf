"""A picture of what a planned step holds in its course."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.planning.fitting import written_bytes
from locallearn.planning.step_meter import KINDS, Moment
from locallearn.plotting.chart import byte_scale
from locallearn.plotting.figure_file import COLORS, INK, save_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from locallearn.planning.plan import Plan

_LAYERS = (
    ("weights, buffers, optimizer state", ("parameters", "buffers", "optimizer state"), "#5b6770"),
    ("gradients", ("gradients",), "#c1666b"),
    ("batch", ("batch",), "#d4b483"),
)
_BLOCKS = (COLORS[0], "#8fb8cf")
_RIVAL = COLORS[4]


def save_plot(plan: Plan, path: Path, *, title: str) -> None:
    """Draw bytes alive over a step, by kind and block, beside back-propagation's.

    Args:
        plan: What to draw.
        path: File to write; its ending says how, as in `.png` or `.svg`.
        title: Heading.

    Raises:
        InputError: matplotlib is missing, or knows no such ending.
    """
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 5.6), layout="constrained", dpi=150)
        beside, within = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        _draw_beside(beside, plan)
        _draw_within(within, plan)
        save_figure(figure, path)


def _draw_beside(axes: Axes, plan: Plan) -> None:
    scale, unit = byte_scale(max(plan.peak_bytes, plan.rivals[0].peak_bytes or 0))
    for moments, color, name, peak in (
        (plan.rivals[0].moments, _RIVAL, "backprop", plan.rivals[0].peak_bytes or 0),
        (plan.moments, _BLOCKS[0], "this plan", plan.peak_bytes),
    ):
        times, heights = _course(moments), [moment.total / scale for moment in moments]
        axes.fill_between(times, heights, color=color, alpha=0.35, linewidth=0)
        axes.plot(times, heights, color=color, linewidth=1.2, label=f"{name}, {written_bytes(peak)}")
    _draw_budget(axes, plan, scale)
    _finish(axes, unit)
    axes.legend(loc="upper right", ncols=3)


def _draw_within(axes: Axes, plan: Plan) -> None:
    scale, unit = byte_scale(plan.peak_bytes)
    times = _course(plan.moments)
    floor = [0.0] * len(times)
    for name, kinds, color in _LAYERS:
        places = [KINDS.index(kind) for kind in kinds]
        top = [low + sum(m.held[p] for p in places) / scale for low, m in zip(floor, plan.moments, strict=True)]
        axes.fill_between(times, floor, top, color=color, linewidth=0, label=name)
        floor = top
    total = [moment.total / scale for moment in plan.moments]
    for start, stop in _stretches(plan.moments):
        part = plan.moments[start].part
        color = INK if part is None else _BLOCKS[part % 2]
        reach = slice(start, min(stop + 1, len(times)))
        axes.fill_between(times[reach], floor[reach], total[reach], color=color, linewidth=0)
    axes.fill_between([], [], color=_BLOCKS[0], label="activations, shaded by block")
    axes.plot(times, total, color=INK, linewidth=0.7)
    if plan.budget is not None and plan.budget.bytes < 1.5 * plan.peak_bytes:
        _draw_budget(axes, plan, scale)
    _finish(axes, unit)
    _mark_peak(axes, plan, times, total)
    axes.set_xlabel("course of the step, in operators run (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4)


def _mark_peak(axes: Axes, plan: Plan, times: Sequence[float], total: Sequence[float]) -> None:
    place = max(range(len(total)), key=total.__getitem__)
    where = "the optimizer's step" if plan.bottleneck is None else plan.blocks[plan.bottleneck].name
    axes.plot(times[place], total[place], "o", color=INK, markersize=4)
    axes.annotate(
        f"peak {written_bytes(plan.peak_bytes)}\n{where}",
        (times[place], total[place]),
        xytext=(8 if times[place] < 70 else -8, 6),
        textcoords="offset points",
        ha="left" if times[place] < 70 else "right",
        weight="bold",
    )
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.22 * total[place]))


def _draw_budget(axes: Axes, plan: Plan, scale: float) -> None:
    if plan.budget is not None:
        name = f"budget, {written_bytes(plan.budget.bytes)}"
        axes.axhline(plan.budget.bytes / scale, color="#a4243b", linewidth=1, linestyle="--", label=name)


def _finish(axes: Axes, unit: str) -> None:
    axes.set_ylabel(f"bytes alive ({unit})")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)


def _course(moments: Sequence[Moment]) -> list[float]:
    return [100 * moment.operator / moments[-1].operator for moment in moments]


def _stretches(moments: Sequence[Moment]) -> list[tuple[int, int]]:
    """Where each run of one part starts and stops."""
    borders = [i for i in range(len(moments)) if i == 0 or moments[i].part != moments[i - 1].part]
    return list(zip(borders, [*borders[1:], len(moments)], strict=True))
