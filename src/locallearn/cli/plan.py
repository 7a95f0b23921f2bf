"""Predict memory and arithmetic of a training step, beside back-propagation's, before anything runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.cli.pictures import check_picture
from locallearn.cli.step_flags import StepOptions, StepParser, add_step_flags, step_options

if TYPE_CHECKING:
    from locallearn.planning.plan import BlockCost, Plan
    from locallearn.planning.rivals import Rival


def run(argv: Sequence[str]) -> int:
    """Print the plan.

    Args:
        argv: Words after `plan`.

    Returns:
        0, or 1 where the plan does not fit into the budget.
    """
    parser = StepParser("plan", "Predict memory and arithmetic of a training step; needs no data and no GPU.")
    add = parser.add_argument_group("plan").add_argument
    add("--budget", metavar="SIZE", help="find the fewest blocks whose step fits, as in 8GiB or 500MB")
    add("--plot", type=Path, metavar="FILE", help="draw memory over the step, as .png, .svg or .pdf")
    add("--overwrite", action="store_true", help="let --plot replace a file")
    add("--json", action="store_true", help="end with one JSON object on standard output")
    add_step_flags(parser, argv, balance="memory")
    values = parser.parse(argv)
    options = step_options(values)
    check_picture("--plot", values.plot, overwrite=values.overwrite)
    found = _planned(options, values.budget)
    print("\n".join([*_heading(options, found), "", *_peak(found), "", *_blocks(found), "", *_beside(options, found)]))
    if found.budget is not None:
        print("\n" + "\n".join(_budget(found)))
    if values.plot is not None:
        from locallearn.planning.memory_plot import save_plot

        save_plot(found, values.plot, title=", ".join(_heading(options, found)))
        print(f"\ndrawn in {values.plot}")
    if values.json:
        print(found.json())
    return int(found.budget is not None and not found.budget.fits)


def _planned(options: StepOptions, budget: str | None) -> Plan:
    from locallearn.networks import constructor
    from locallearn.planning.plan import plan

    channels = options.input[0]
    return plan(
        functools.partial(constructor(options.network), options.classes),
        options.input,
        batch_size=options.batch_size,
        method=options.method,
        num_blocks=options.num_blocks,
        balance=options.balance,
        split_points=options.split_points,
        preset=options.preset,
        budget=budget,
        precision=options.precision,
        optimizer=options.optimizer,
        channels_last=options.channels_last,
        execution=options.execution,
        step_in_backward=options.step_in_backward,
        device=options.device,
        normalization=((0.5,) * channels, (0.25,) * channels),
    )


def _heading(options: StepOptions, found: Plan) -> list[str]:
    shape = "x".join(map(str, options.input))
    count = len(found.sizes)
    return [
        f"{options.network}, {options.method_name} in {count} block{'s' * (count > 1)} ({found.units} units)",
        f"batch {options.batch_size} of {shape}, {options.precision}, {options.optimizer}",
    ]


def _peak(found: Plan) -> list[str]:
    from locallearn.planning.fitting import written_bytes

    where = "the optimizer's step" if found.bottleneck is None else found.blocks[found.bottleneck].name
    rows = [[f"  {kind}", written_bytes(size)] for kind, size in found.at_peak.items() if size]
    return [f"peak {written_bytes(found.peak_bytes)} alive, in {where}:", *_aligned(rows)]


def _blocks(found: Plan) -> list[str]:
    from locallearn.planning.fitting import written_bytes

    header = ["block", "units", "peak", "parameters", "auxiliary", "gradients", "optimizer", "GFLOPs"]
    rows = []
    for _, alike in groupby(found.blocks, key=_figures):
        group = list(alike)
        top = max(group, key=lambda block: block.peak_bytes)
        names = [name for block in group for name in block.units]
        mark = " *" if found.bottleneck is not None and found.blocks[found.bottleneck] in group else ""
        numbers = (top.parameter_bytes, top.auxiliary_bytes, top.gradient_bytes, top.optimizer_bytes)
        rows.append(
            [
                _span(group[0].first, group[-1].last),
                names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}",
                written_bytes(top.peak_bytes) + mark,
                *map(written_bytes, numbers),
                f"{top.flops / 1e9:,.1f}",
            ]
        )
    note = ["(* the bottleneck; rows of several blocks give the highest peak, and the rest for each)"]
    return _aligned([header, *rows]) + note


def _figures(block: BlockCost) -> tuple[int, ...]:
    return (block.last - block.first, block.parameter_bytes, block.auxiliary_bytes, block.flops)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _beside(options: StepOptions, found: Plan) -> list[str]:
    from locallearn.planning.fitting import written_bytes

    plain = found.rivals[0]
    own = ["this plan", found.peak_bytes, found.flops]
    rows = [["", "peak", "of backprop", "FLOPs over backprop"]]
    for name, peak, flops in (own, *([_named(rival), rival.peak_bytes, rival.flops] for rival in found.rivals)):
        rows.append(
            [
                str(name),
                "does not fit" if peak is None else written_bytes(peak),
                "-" if peak is None else f"{100 * peak / (plain.peak_bytes or 1):.1f} %",
                f"{flops / max(plain.flops, 1):.2f}",
            ]
        )
    lines = _aligned(rows)
    if plain.peak_bytes is not None and found.peak_bytes > plain.peak_bytes and len(found.sizes) > 1:
        lines.append("This plan holds more than back-propagation: try fewer blocks, another head, or --budget.")
    return lines


def _named(rival: Rival) -> str:
    return rival.name if rival.micro_batches == 1 else f"{rival.name} over {rival.micro_batches} micro-batches"


def _budget(found: Plan) -> list[str]:
    from locallearn.planning.fitting import written_bytes

    assert found.budget is not None
    budget = written_bytes(found.budget.bytes)
    if found.budget.fits:
        count, sizes = len(found.sizes), ", ".join(map(str, found.sizes))
        lines = [f"fits into {budget} with {count} block{'s' * (count > 1)} of {sizes} units."]
    else:
        batch = found.budget.largest_batch
        lines = [
            f"does NOT fit into {budget}: {written_bytes(found.budget.missing_bytes)} too much.",
            "what would help:",
        ]
        helps = [[f"  --batch-size {batch}", "the largest that fits"]] if batch else []
        for remedy in found.budget.remedies:
            flags = " ".join(f"--{change}" for change in remedy.change.split(" and "))
            helps.append([f"  {flags}", f"{written_bytes(remedy.peak_bytes)}{', fits' if remedy.fits else ''}"])
        lines += _aligned(helps) or ["  nothing that is known here"]
    if found.split_points:
        lines.append(f"cuts: --split-points {' '.join(found.split_points)}")
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns; the first two texts, the rest numbers."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    texts = {0} if len(widths) < 5 else {0, 1}
    return [
        "  ".join(
            cell.ljust(width) if index in texts else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
