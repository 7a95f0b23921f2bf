"""Measure how short-sighted a method is: cosine between local gradients and back-propagation's, at every checkpoint."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.cli.flags import parsed
from locallearn.cli.looking import LookingInBatches, RunFolders, bar, kept, seen
from locallearn.cli.pictures import draw_picture
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from locallearn.analysis import TrainedRun


@dataclass(frozen=True, kw_only=True)
class Agreement(LookingInBatches):
    """Compare, block by block, what a run's method learns from with back-propagation's gradient on the same weights.

    Batches are training images, augmented as the run had them; BatchNorm normalises by the batch, dropout is off. A run
    keeps as many checkpoints as --training.keep-checkpoints says. Kept beside each run as analysis/agreement.json.

    Args:
        images: How many training images are looked at at each checkpoint, in whole batches.
        seed: Of their order and augmentation.
        batch_size: Images per batch.
        plot: A file for a chart over the blocks: of one run a line for each checkpoint, of several each one's newest.
        plot_steps: A file for a chart over training: the mean over the blocks but the last, a line for each run.
    """

    runs: RunFolders
    images: int | None = 1024
    batch_size: int = 128
    plot_steps: Path | None = None

    def pictures(self) -> dict[str, Path | None]:
        """See `Looking.pictures`."""
        return super().pictures() | {"--plot-steps": self.plot_steps}


def run(argv: Sequence[str]) -> int:
    """Measure, and print the cosines of every run.

    Args:
        argv: Words after `agreement`.

    Returns:
        The exit code.

    Raises:
        InputError: Runs have no checkpoints or other tasks or data sets, or too few images are asked for.
        TrainingStopped: Memory ran out.
    """
    from locallearn.analysis import opened_together

    options = parsed(Agreement, argv, verb="agreement")
    device = options.checked()
    if options.images is not None and options.images < options.batch_size:
        raise InputError(
            f"{options.images} images make no batch of {options.batch_size}: give more by --images, or a smaller "
            "--batch-size."
        )
    runs = opened_together(options.runs, finished=False, checkpoints=True)
    found = {each: _found(each, options, device) for each in runs}
    print_rows([row for each, agreement in found.items() for row in _rows(each.name, agreement)])
    print()
    print_rows([row for each, agreement in found.items() for row in _means(each.name, agreement)])
    named = {each.name: agreement for each, agreement in found.items()}
    draw_picture(options.plot, lambda: _over_blocks(named))
    draw_picture(options.plot_steps, lambda: _over_training(named))
    if options.json:
        print(json.dumps({"runs": named}))
    return 0


def _found(run: TrainedRun, options: Agreement, device: torch.device) -> dict[str, Any]:
    from locallearn.analysis.gradient_agreement import agreement_over_training, drawn_batches
    from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

    with memory_explained(f"with batches of {options.batch_size}", remedy=SMALLER_BATCHES, device=device):
        common: dict[str, Any] = {"batch_size": options.batch_size, "seed": options.seed}
        batches = drawn_batches(run, run.splits(options.data).train, device, **common)
        count = len(batches) if options.images is None else min(len(batches), options.images // options.batch_size)
        title = f"{run.name}: gradients at {len(run.steps)} checkpoints"
        with bar(title, count * len(run.steps)) as piece:
            found = agreement_over_training(run, lambda: islice(seen(batches, piece), count), device)
    for each in found["missing"]:
        print(f"locallearn: step {each['step']} of {run.name} is left out: {each['why']}", file=sys.stderr)
    settings = common | {"batches": count, "images": count * options.batch_size}
    kept(run, "agreement", found, settings=settings)
    return settings | found


def _rows(name: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"run": name, "step": step, "block": block, "cosine": mean, "deviation": deviation}
        for step, means, deviations in zip(found["steps"], found["mean"], found["deviation"], strict=True)
        for block, (mean, deviation) in enumerate(zip(means, deviations, strict=True), 1)
    ]


def _means(name: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    means = zip(found["steps"], found["inner_mean"], strict=True)
    return [{"run": name, "step": step, "mean of all blocks but the last": mean} for step, mean in means]


def _over_blocks(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    from locallearn.plotting.over_depth import over_depth

    curves = {name: each["mean"][-1] for name, each in found.items()}
    title = "Gradient agreement with back-propagation"
    if len(found) == 1:
        ((name, each),) = found.items()
        curves = {f"step {step:,}": means for step, means in zip(each["steps"], each["mean"], strict=True)}
        title = f"{title}: {name}"
    return over_depth(curves, title=title, value="cosine of the gradients")


def _over_training(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    from locallearn.plotting.over_steps import over_steps

    return over_steps(
        {name: (each["steps"], each["inner_mean"]) for name, each in found.items()},
        title="Gradient agreement with back-propagation",
        x="step",
        value="cosine of the gradients, mean over the blocks but the last",
    )
