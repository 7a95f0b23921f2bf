"""Let the hidden heads answer: accuracy and compute of stopping after each block, and the ensembles of heads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from locallearn.cli.flags import parsed
from locallearn.cli.looking import LookingInBatches, RunFolders, bar, kept, seen
from locallearn.cli.pictures import draw_picture
from locallearn.cli.tables import print_rows

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from locallearn.analysis import TrainedRun


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
    print_rows([_row(name, place) for name, each in found.items() for place in each["exits"]])
    draw_picture(options.plot, lambda: _chart(found))
    if options.json:
        print(json.dumps({"runs": found}))
    return 0


def _found(run: TrainedRun, options: Exits, device: torch.device) -> dict[str, Any]:
    from locallearn.analysis.early_exits import early_exits
    from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

    activity = f"while batches of {options.batch_size} were classified"
    with memory_explained(activity, remedy=SMALLER_BATCHES, device=device):
        common: dict[str, Any] = {"batch_size": options.batch_size, "seed": options.seed}
        batches = run.batches(run.splits(options.data).test, device, count=options.images, **common)
        model = run.model(device, heads=True)
        with bar(f"{run.name}: early exits", len(batches)) as piece:
            found = {"exits": [asdict(place) for place in early_exits(model, seen(batches, piece))]}
    settings = {"images": batches.count, "seed": options.seed, "step": run.steps[-1]}
    kept(run, "exits", found, settings=settings)
    return settings | found


def _row(name: str, place: Mapping[str, Any]) -> dict[str, Any]:
    millions = {key: None if place[key] is None else place[key] / 1e6 for key in ("macs", "ensemble_macs")}
    return {
        "run": name,
        "block": place["block"],
        "window": place["role"],
        "accuracy": place["accuracy"],
        "MMACs": millions["macs"],
        "ensemble": place["ensemble_accuracy"],
        "of logits": place["logits_ensemble_accuracy"],
        "ensemble's MMACs": millions["ensemble_macs"],
    }


def _chart(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    from locallearn.analysis.early_exits import in_ensemble
    from locallearn.plotting.over_steps import over_steps

    places = {name: in_ensemble(each["exits"]) for name, each in found.items()}
    return over_steps(
        {name: ([p["macs"] / 1e6 for p in each], [p["accuracy"] for p in each]) for name, each in places.items()},
        title="Stopping after a block",
        x="multiply-accumulates per image, with the head (millions)",
        value="test accuracy (%)",
    )
