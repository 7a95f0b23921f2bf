"""Measure memory and time of a training step beside plain PyTorch, checkpointing, accumulation and torch.compile."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.cli.step_flags import StepOptions, StepParser, add_step_flags, step_options
from locallearn.errors import InputError

if TYPE_CHECKING:
    from locallearn.benchmarking.rows import Row
    from locallearn.benchmarking.sides import Setting

PUBLISHED = ("resnet32", "resnet110")
"""What is measured where no network is named."""
TIME_BATCH = {"resnet32": 128, "resnet110": 64}


def run(argv: Sequence[str]) -> int:
    """Measure, write a result file for each network, and print a table of each.

    Args:
        argv: Words after `bench`.

    Returns:
        The exit code.

    Raises:
        InputError: A flag or value is refused, or a result file exists.
    """
    parser = _parser(argv)
    values = parser.parse(argv)
    _check(values)
    names = PUBLISHED if values.network is None else (values.network,)
    results = {name: _measured(name, argv, values) for name in names}
    if values.json:
        print(json.dumps({"results": results}))
    return 0


def _parser(argv: Sequence[str]) -> StepParser:
    parser = StepParser("bench", __doc__ or "")
    add_step_flags(parser, argv)
    add = parser.add_argument_group("benchmark").add_argument
    add("--rows", nargs="+", metavar="ROW", help="names or families of rows, as in dgl,predsim (all rows)")
    add("--no-memory", action="store_true", help="count no memory")
    add("--no-time", action="store_true", help="measure no time; memory alone takes minutes")
    add("--time-batch-size", type=int, metavar="N", help="images in a timed step (128 for resnet32, 64 for resnet110)")
    add("--time-layout", choices=("channels_last", "contiguous"), default="channels_last", help="of timed steps")
    add("--rounds", type=int, default=15, metavar="N", help="turns that each row takes (15)")
    add("--workers", type=int, default=1, metavar="N", help="processes that count memory side by side (1)")
    add("--cudnn-benchmark", action="store_true", help="let cuDNN try its algorithms")
    add("--out", type=Path, default=Path(), metavar="FOLDER", help="where result files go (the current folder)")
    add("--resume", action="store_true", help="add what an earlier run has not measured")
    add("--overwrite", action="store_true", help="measure again what a result file has")
    add("--json", action="store_true", help="end with one JSON object on standard output")
    return parser


def _check(values: argparse.Namespace) -> None:
    if values.resume and values.overwrite:
        raise InputError("Give --resume or --overwrite, not both.")
    if values.no_memory and values.no_time:
        raise InputError("With --no-memory and --no-time there is nothing to measure.")
    for name in ("rounds", "time_batch_size", "workers"):
        if getattr(values, name) is not None and getattr(values, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(values, name)}.")


def _measured(name: str, argv: Sequence[str], values: argparse.Namespace) -> dict[str, Any]:
    import torch

    from locallearn.benchmarking.measure import count_memory, measure_time
    from locallearn.benchmarking.results import file_name, fresh, opened, save
    from locallearn.benchmarking.sides import BatchForm
    from locallearn.benchmarking.stamp import stamp
    from locallearn.benchmarking.table import table

    options = _options(name, argv)
    setting = _setting(options)
    rows = _rows(options, values, argv)
    path = values.out / file_name(setting)
    measured = [name for name, left_out in (("memory", values.no_memory), ("time", values.no_time)) if not left_out]
    content = opened(path, fresh(setting, rows), resume=values.resume, overwrite=values.overwrite, measured=measured)
    torch.backends.cudnn.benchmark = values.cudnn_benchmark
    head = stamp(["locallearn", "bench", *argv])

    def keep(found: dict[str, Any]) -> None:
        save(path, found)

    if not values.no_memory:
        form = BatchForm(size=options.batch_size, channels_last=options.channels_last)
        count_memory(content, rows, setting, form, head, keep, workers=values.workers)
    if not values.no_time and content["time"] is None:
        size = values.time_batch_size or _time_batch(options)
        form = BatchForm(size=size, channels_last=values.time_layout == "channels_last")
        measure_time(content, rows, setting, form, head, keep, rounds=values.rounds)
    print(f"{path}\n\n{table(content)}\n")
    return content


def _time_batch(options: StepOptions) -> int:
    return options.batch_size if options.device != "cpu" else TIME_BATCH.get(options.network, options.batch_size)


def _options(name: str, argv: Sequence[str]) -> StepOptions:
    from locallearn.benchmarking.sides import PUBLISHED as NUM_BLOCKS

    before = ["--network", name]
    if name in NUM_BLOCKS:
        before += ["--input", "3", "32", "32", "--batch-size", "1024"]
        if not _given(argv, "--split-points"):
            before += ["--num-blocks", str(NUM_BLOCKS[name])]
    return step_options(_parser(argv).parse([*before, *argv]))


def _setting(options: StepOptions) -> Setting:
    import torch

    from locallearn.benchmarking.sides import Setting

    try:
        device = torch.device(options.device)
    except RuntimeError as error:
        raise InputError(f"--device {options.device!r} is no device of PyTorch; use cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("PyTorch finds no CUDA device here: leave out --device.")
    if options.balance == "peak":
        raise InputError(
            "--balance peak searches cuts by planning: give bench the --split-points that locallearn plan finds."
        )
    return Setting(
        network=options.network,
        input_shape=options.input,
        num_classes=options.classes,
        num_blocks=options.num_blocks,
        balance=options.balance,
        split_points=options.split_points,
        preset=options.preset,
        optimizer=options.optimizer,
        device=options.device,
    )


def _rows(options: StepOptions, values: argparse.Namespace, argv: Sequence[str]) -> tuple[Row, ...]:
    """The table's rows; with `--method`, that method beside the rivals."""
    from locallearn.benchmarking.rows import PRECISIONS, RIVALS, ROWS, Row, in_all_precisions, selected

    rows = ROWS
    if _given(argv, "--method"):
        own = Row(
            name=_name(options),
            method=options.method,
            execution=options.execution,
            step_in_backward=options.step_in_backward,
        )
        rows = (*RIVALS, *in_all_precisions([own]))
    elif any(word.startswith(("--execution.", "--method.", "--step-in-backward")) for word in argv):
        raise InputError("Fields of --method and --execution, and --step-in-backward, need a method: give --method.")
    if values.rows is not None:
        rows = selected(rows, values.rows)
    precisions = (options.precision,) if _given(argv, "--precision") else PRECISIONS
    # All rows of a precision stand together, plain PyTorch first.
    return tuple(row for precision in precisions for row in rows if row.precision == precision)


def _name(options: StepOptions) -> str:
    from locallearn.execution import Execution
    from locallearn.methods import method

    parts = [options.method_name]
    if options.method != method(options.method_name):
        parts.append(repr(options.method))
    if options.execution != Execution():
        fields = vars(options.execution)
        parts += [f"{name} {value}" for name, value in fields.items() if value != getattr(Execution(), name)]
    parts += ["step in backward"] * options.step_in_backward
    return ", ".join(parts)


def _given(argv: Sequence[str], flag: str) -> bool:
    return any(word.partition("=")[0].replace("_", "-") == flag for word in argv)
