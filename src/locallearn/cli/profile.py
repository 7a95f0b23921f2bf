"""Profile a training step of runs: bytes alive over the step, and the time of every block."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.cli.flags import Json, parsed
from locallearn.cli.looking import RunFolders, bar, kept
from locallearn.cli.pictures import Overwrite, check_picture, draw_picture
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError
from locallearn.recipes.choices import checked_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from locallearn.analysis.step_profile import StepMemory


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Profile a training step of runs: bytes alive over the step, and the time of every block. Needs no data.

    Args:
        device: Where steps are timed: auto, cpu, cuda, cuda:1, mps. Bytes are counted without it.
        repeats: Steps that are timed; 0 times none.
        plot: A file for a chart of the bytes, such as memory.svg or memory.png.
        times: A file for a chart of the blocks' times.
    """

    runs: RunFolders
    device: str = "auto"
    repeats: int = 3
    plot: Path | None = None
    times: Path | None = None
    overwrite: Overwrite = False
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Count, time, print a row for each run, and draw.

    Args:
        argv: Words after `profile`.

    Returns:
        The exit code.

    Raises:
        InputError: A folder holds no run of classification, or a flag makes no sense.
    """
    from locallearn.analysis.comparable import opened_together
    from locallearn.analysis.step_profile import block_times, step_memory
    from locallearn.training.assembly import find_device

    options = parsed(Profile, argv, verb="profile")
    _check(options)
    device = find_device(checked_device(options.device))
    memory: dict[str, StepMemory] = {}
    seconds: dict[str, list[float]] = {}
    with bar("steps", 2 * len(runs := opened_together(options.runs, finished=False))) as piece:
        for each in runs:
            memory[each.name] = step_memory(each)
            piece()
            seconds[each.name] = block_times(each, device, repeats=options.repeats) if options.repeats else []
            piece()
            settings = {"device": str(device), "repeats": options.repeats}
            kept(each, "profile", _told(memory[each.name], seconds[each.name]), settings=settings)
    print_rows([_row(name, memory[name], seconds[name]) for name in memory])
    draw_picture(options.plot, lambda: memory_figure(memory))
    draw_picture(options.times, lambda: times_figure(seconds))
    if options.json:
        print(json.dumps({"runs": {name: _told(memory[name], seconds[name]) for name in memory}}))
    return 0


def _check(options: Profile) -> None:
    for flag, path in {"--plot": options.plot, "--times": options.times}.items():
        check_picture(flag, path, overwrite=options.overwrite)
    if options.repeats < 0:
        raise InputError(f"--repeats must be at least 0, not {options.repeats}.")
    if options.times is not None and not options.repeats:
        raise InputError("--times draws what is timed: leave --repeats 0 out.")


def _told(memory: StepMemory, seconds: Sequence[float]) -> dict[str, Any]:
    return dataclasses.asdict(memory) | {"block_seconds": list(seconds)}


def _row(name: str, memory: StepMemory, seconds: Sequence[float]) -> dict[str, Any]:
    from locallearn.planning.fitting import written_bytes

    highest = max(range(len(memory.ends)), key=memory.part_peaks.__getitem__)
    within = memory.part_peaks[highest] == memory.peak_bytes
    slowest = max(range(len(seconds)), key=seconds.__getitem__) if seconds else None
    return {
        "run": name,
        "blocks": memory.ends[-1],
        "peak": written_bytes(memory.peak_bytes),
        "in": _blocks(memory, highest) if within else "the optimizer's step",
        "activations": written_bytes(memory.at_peak["activations"]),
        "GFLOP": f"{memory.flops / 1e9:,.2f}",
        "ms": f"{1e3 * sum(seconds):,.1f}" if seconds else None,
        "slowest": None if slowest is None else f"block {slowest + 1}, {1e3 * seconds[slowest]:,.1f} ms",
    }


def _blocks(memory: StepMemory, part: int) -> str:
    first, last = (memory.ends[part - 1] if part else 0) + 1, memory.ends[part]
    return f"block {last}" if first == last else f"blocks {first} to {last}"


def memory_figure(found: Mapping[str, StepMemory]) -> Figure:
    """Bytes alive over a step, a line for each run.

    Args:
        found: What was counted, by the runs' names.

    Returns:
        The figure.
    """
    from locallearn.planning.fitting import written_bytes
    from locallearn.plotting.chart import byte_scale
    from locallearn.plotting.over_steps import over_steps

    size, unit = byte_scale(max(each.peak_bytes for each in found.values()))
    curves = {}
    for name, each in found.items():
        places, heights = each.course()
        curves[f"{name}, {written_bytes(each.peak_bytes)}"] = (places, [height / size for height in heights])
    title = "Memory over a training step"
    return over_steps(
        curves, title=title, x="course of the step, in operators run (%)", value=f"bytes alive ({unit})", fill=True
    )


def times_figure(found: Mapping[str, Sequence[float]]) -> Figure:
    """Time of every block, a line for each run.

    Args:
        found: Seconds of every block, by the runs' names.

    Returns:
        The figure.
    """
    from locallearn.plotting.over_depth import over_depth

    curves = {name: [1e3 * each for each in seconds] for name, seconds in found.items()}
    value = "milliseconds (backward: at a window's last block)"
    figure = over_depth(curves, title="Time of each block in a training step", value=value)
    figure.axes[0].set_ylim(bottom=0)
    return figure
