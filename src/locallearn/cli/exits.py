"""Let the hidden heads answer: accuracy and compute of stopping after each block, and the ensembles of heads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from locallearn.cli.flags import parsed
from locallearn.cli.looking import LookingInBatches, RunFolders, bar, kept, seen
from locallearn.cli.pictures import drawn
from locallearn.cli.tables import print_rows

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from locallearn.analysis import TrainedRun
    from locallearn.analysis.early_exits import EarlyExit


@dataclass(frozen=True, kw_only=True)
class Exits(LookingInBatches):
    """Test what each block's local head predicts, as an early exit, and the ensembles of heads that DGL evaluates.

    The heads are those of the newest checkpoint. Kept beside each run as analysis/exits.json.
    """

    runs: RunFolders


def run(argv: Sequence[str]) -> int:
    """Test, and print the exits of every run.

    Args:
        argv: Words after `exits`.

    Returns:
        The exit code.

    Raises:
        InputError: Runs have not ended, have no checkpoints or other tasks or data sets; or there are no images.
        TrainingStopped: Memory ran out.
    """
    from locallearn.analysis import opened_together

    options = parsed(Exits, argv, verb="exits")
    device = options.checked()
    runs = opened_together(options.runs, checkpoints=True)
    found = {each.name: _found(each, options, device) for each in runs}
    print_rows([_row(name, place) for name, exits in found.items() for place in exits])
    drawn(options.plot, lambda: _chart(found))
    if options.json:
        told = {name: {"exits": [asdict(place) for place in exits]} for name, exits in found.items()}
        print(json.dumps({"runs": told}))
    return 0


def _found(run: TrainedRun, options: Exits, device: torch.device) -> list[EarlyExit]:
    from locallearn.analysis.early_exits import early_exits
    from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

    activity = f"while batches of {options.batch_size} were classified"
    with memory_explained(activity, remedy=SMALLER_BATCHES, device=device):
        common: dict[str, Any] = {"batch_size": options.batch_size, "seed": options.seed}
        batches = run.batches(run.splits(options.data).test, device, count=options.images, **common)
        model = run.model(device, heads=True)
        with bar(f"{run.name}: early exits", len(batches)) as piece:
            exits = early_exits(model, seen(batches, piece))
    settings = {"images": batches.count, "seed": options.seed, "step": run.steps[-1]}
    kept(run, "exits", {"exits": [asdict(place) for place in exits]}, settings=settings)
    return exits


def _row(name: str, place: EarlyExit) -> dict[str, Any]:
    return {
        "run": name,
        "block": place.block,
        "window": place.role,
        "accuracy": place.accuracy,
        "MMACs": None if place.macs is None else place.macs / 1e6,
        "ensemble": place.ensemble_accuracy,
        "of logits": place.logits_ensemble_accuracy,
        "ensemble's MMACs": None if place.ensemble_macs is None else place.ensemble_macs / 1e6,
    }


def _chart(found: Mapping[str, Sequence[EarlyExit]]) -> Figure:
    from locallearn.plotting.over_steps import over_steps

    curves = {}
    for name, exits in found.items():
        # Of several heads at a block the one that is in the ensemble.
        pairs = [(place.macs / 1e6, place.accuracy) for place in exits if place.macs and place.ensemble_macs]
        curves[name] = [x for x, _ in pairs], [y for _, y in pairs]
    return over_steps(
        curves,
        title="Stopping after a block",
        x="multiply-accumulates per image, with the head (millions)",
        value="test accuracy (%)",
    )
