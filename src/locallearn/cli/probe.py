"""Measure how well a linear classifier tells the classes apart by every block's features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
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
    from locallearn.analysis.probe import ProbeFit

USUALLY = 10_000


@dataclass(frozen=True, kw_only=True)
class Probe(LookingInBatches):
    """Measure how well a linear classifier tells the classes apart by every block's features.

    Networks are frozen and in evaluation mode; features are averaged over all places or tokens, those of the last
    block are the logits. Classifiers learn from training images as they are, and are tested on test images.

    Args:
        train_images: Training images that each classifier learns from; none takes 10,000, but no more than four fifths,
            so that draws differ.
        seeds: Draws of training images, each with classifiers of its own; their spread is the error bar.
    """

    runs: RunFolders
    train_images: int | None = None
    seeds: int = 3


def run(argv: Sequence[str]) -> int:
    """Probe, and print the accuracies of all blocks.

    Args:
        argv: Words after `probe`.

    Returns:
        The exit code.

    Raises:
        InputError: There is no finished run of classification, no data or no such device.
        TrainingStopped: Memory ran out.
    """
    options = parsed(Probe, argv, verb="probe")
    device = options.checked(train_images=1, seeds=1)
    from locallearn.analysis import opened_together
    from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

    runs = opened_together(options.runs)
    activity = f"while batches of {options.batch_size} were looked at"
    with memory_explained(activity, remedy=SMALLER_BATCHES, device=device):
        found = {each.name: _probed(each, options, device) for each in runs}
    print_rows(_rows(found))
    draw_picture(options.plot, lambda: _figure(found))
    if options.json:
        print(json.dumps({"runs": found}))
    return 0


def _training_images(options: Probe, there: int) -> int:
    if options.train_images is None:
        return min(USUALLY, there * 4 // 5)
    if options.train_images > there or (options.train_images == there and options.seeds > 1):
        raise InputError(
            f"There are {there} training images: give fewer by --train-images, or all of them with --seeds 1, since "
            "every draw would be the same."
        )
    return options.train_images


def _probed(run: TrainedRun, options: Probe, device: torch.device) -> dict[str, Any]:
    from locallearn.analysis.block_features import pooled_features
    from locallearn.analysis.probe import by_block, columns, probes

    model, splits = run.model(device), run.splits(options.data)
    count, seeds = _training_images(options, len(splits.train)), range(options.seed, options.seed + options.seeds)
    size: dict[str, Any] = {"batch_size": options.batch_size}
    tests = run.batches(splits.test, device, count=options.images, seed=options.seed, **size)
    draws = [run.batches(splits.train, device, count=count, seed=seed, **size) for seed in seeds]
    pieces = len(tests) + sum(map(len, draws)) + options.seeds * len(model.partition)
    fits: list[ProbeFit] = []
    with bar(f"probes of {run.name}", pieces) as piece:
        test = pooled_features(model, seen(tests, piece))
        for fit in probes((pooled_features(model, seen(draw, piece)) for draw in draws), test):
            fits.append(fit)
            piece()
    found = columns(by_block(fits, test))
    settings = {"train_images": count, "test_images": len(test.labels), "seeds": list(seeds)}
    kept(run, "probe", found, settings=settings)
    return settings | found


def _rows(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    most = max(len(each["accuracy"]) for each in found.values())
    return [{"block": block + 1} | {name: _cell(each, block) for name, each in found.items()} for block in range(most)]


def _cell(found: dict[str, Any], block: int) -> str | None:
    if block >= len(found["accuracy"]):
        return None
    spread = f" +- {found['deviation'][block]:.2f}" if "deviation" in found else ""
    return f"{found['accuracy'][block]:.2f} %{spread}{'' if found['converged'][block] else ' (not converged)'}"


def _figure(found: dict[str, dict[str, Any]]) -> Figure:
    from locallearn.plotting.over_depth import over_depth

    return over_depth(
        {name: each["accuracy"] for name, each in found.items()},
        title="Linear separability",
        value="test accuracy of a linear probe in %",
        spreads={name: each["deviation"] for name, each in found.items() if "deviation" in each},
    )
