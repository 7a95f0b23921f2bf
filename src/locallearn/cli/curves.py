"""Lay the training curves of runs on each other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from locallearn.cli.flags import Json, parsed
from locallearn.cli.looking import RunFolders, bar, kept
from locallearn.cli.pictures import Overwrite, check_picture, draw_picture
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError
from locallearn.plotting.chart import flops_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from locallearn.analysis.curves import Axis, Curves
    from locallearn.plotting.over_steps import Panel

_TOLD = 6


@dataclass(frozen=True, kw_only=True)
class CurvesOf:
    """Lay the training curves of runs on each other: loss and error over epochs, equal FLOPs and equal seconds.

    Args:
        plot: A file for the chart of losses and errors, such as curves.svg or curves.png.
        heads: A file for a chart of every block's head accuracy over epochs.
        no_flops: Leave operations out, which takes a while to count for deep networks.
    """

    runs: RunFolders
    plot: Path | None = None
    heads: Path | None = None
    overwrite: Overwrite = False
    no_flops: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Read the logs, print a row for each run, and draw.

    Args:
        argv: Words after `curves`.

    Returns:
        The exit code.

    Raises:
        InputError: A folder holds no run of classification, or no epoch has ended.
    """
    options = parsed(CurvesOf, argv, verb="curves")
    for flag, path in {"--plot": options.plot, "--heads": options.heads}.items():
        check_picture(flag, path, overwrite=options.overwrite)
    found = _read(options)
    size, unit = flops_scale(max((curves.flops[-1] for curves in found.values() if curves.flops), default=0))
    print_rows([_row(name, curves, size, unit) for name, curves in found.items()])
    draw_picture(options.plot, lambda: curves_figure(found))
    draw_picture(options.heads, lambda: heads_figure(found))
    if options.json:
        print(json.dumps({"runs": {name: dataclasses.asdict(curves) for name, curves in found.items()}}))
    return 0


def _read(options: CurvesOf) -> dict[str, Curves]:
    from locallearn.analysis.comparable import opened_together
    from locallearn.analysis.curves import flops_per_step, series

    runs = opened_together(options.runs, finished=False)
    if silent := [str(run.path) for run in runs if not run.metrics]:
        raise InputError(f"No epoch has ended yet in {', '.join(silent)}: let training go on, or leave it out.")
    found = {}
    with bar("operations of a step", len(runs)) as piece:
        for each in runs:
            flops = None if options.no_flops else flops_per_step(each)
            found[each.name] = series(each, flops_per_step=flops)
            kept(each, "curves", dataclasses.asdict(found[each.name]), settings={"flops_per_step": flops})
            piece()
    return found


def _row(name: str, curves: Curves, size: float, unit: str) -> dict[str, Any]:
    known = [error for error in curves.test_error if error is not None]
    seconds = curves.seconds[-1]
    return {
        "run": name,
        "epochs": curves.epochs[-1],
        "steps": curves.steps[-1],
        unit: None if curves.flops is None else f"{curves.flops[-1] / size:,.1f}",
        "seconds": None if seconds is None else f"{seconds:,.0f}",
        "loss": curves.loss[-1],
        "test error": f"{known[-1]:.2f} %" if known else None,
        "heads in training (%)": _heads(curves),
    }


def _heads(curves: Curves) -> str | None:
    values = [window.accuracy[-1] for window in curves.windows]
    told = [f"{value:.1f}" for value in values if value is not None]
    return " ".join(told if len(told) <= _TOLD else [*told[: _TOLD // 2], "...", *told[-_TOLD // 2 :]]) or None


def curves_figure(found: Mapping[str, Curves]) -> Figure:
    """Losses on a logarithmic axis and test errors, over epochs, operations and seconds.

    Args:
        found: Curves by the runs' names.

    Returns:
        The figure; a dotted line marks what all runs have come to.
    """
    from locallearn.plotting.over_steps import panels_over_steps

    axes: tuple[Axis, ...] = ("epochs", "flops", "seconds")
    kinds = (("loss", "loss of the last window", True), ("test_error", "test error (%)", False))
    known: list[Axis] = [axis for axis in axes if _ends(found, axis)]
    panels = [[_panel(found, axis, *kind) for axis in known] for kind in kinds]
    return panels_over_steps(panels, title="Training curves (dotted: where the shortest run ends)")


def _panel(found: Mapping[str, Curves], axis: Axis, kind: str, value: str, log: bool) -> Panel:
    from locallearn.plotting.over_steps import Panel

    lines = {name: curves.along(axis, getattr(curves, kind)) for name, curves in found.items()}
    ends = _ends(found, axis)
    mark = min(ends) if min(ends) < max(ends) else None
    words = {"epochs": "epochs", "flops": "floating-point operations", "seconds": "seconds of training"}[axis]
    if axis == "flops":
        size, unit = flops_scale(max(ends))
        lines = {name: ([place / size for place in places], values) for name, (places, values) in lines.items()}
        words, mark = f"{words} ({unit})", mark and mark / size
    return Panel(lines, words, value, log, mark)


def _ends(found: Mapping[str, Curves], axis: Axis) -> list[float]:
    """How far each run has come; nothing where that is not known of all."""
    ends = [curves.along(axis, curves.loss)[0][-1:] for curves in found.values()]
    return [end[0] for end in ends] if all(ends) else []


def heads_figure(found: Mapping[str, Curves]) -> Figure:
    """Every head's accuracy in training over epochs, a panel for each run.

    Args:
        found: Curves by the runs' names.

    Returns:
        The figure; heads of cascades are dashed.
    """
    from locallearn.plotting.by_depth import DepthLine, by_depth

    panels = {
        name: [
            DepthLine(window.blocks[1], curves.epochs, window.accuracy, dashed=window.role == "cascade")
            for window in curves.windows
        ]
        for name, curves in found.items()
    }
    dashed = any(line.dashed for lines in panels.values() for line in lines)
    title = "Every head's accuracy in training" + (" (dashed: cascades)" if dashed else "")
    return by_depth(panels, title=title, x="epochs", value="accuracy (%)")
