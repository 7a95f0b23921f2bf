"""Compare what every block of runs says with a reference run's blocks: CKA, in minibatches and without bias."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from locallearn.cli.flags import parsed
from locallearn.cli.looking import LookingInBatches, bar, kept, seen
from locallearn.cli.pictures import draw_picture
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError

if TYPE_CHECKING:
    import torch

    from locallearn.analysis import TrainedRun


@dataclass(frozen=True, kw_only=True)
class Similarity(LookingInBatches):
    """Compare what every block of runs says with a reference run's blocks: CKA, in minibatches and without bias.

    Whole feature maps of the same test images are compared, in random order, in evaluation mode. Blocks are held
    against their counterparts where both networks have as many, else against the most similar block of the reference.

    Args:
        passes: How often the images are gone through, in another order each time: batches are compared within
            themselves, so more passes and larger batches come nearer to the value of all images at once.
        exact: Compare every image with every other instead, which takes about twice as many passes as there are batches
            and gives the value of all images at once.
        heatmap: A file for a chart of all pairs of blocks, such as pairs.svg or pairs.png.
    """

    runs: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(help="Folder of the reference run, then those of the others.")]
    ]
    batch_size: int = 1000
    passes: int = 2
    exact: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    heatmap: Path | None = None

    def pictures(self) -> dict[str, Path | None]:
        """See `Looking.pictures`."""
        return super().pictures() | {"--heatmap": self.heatmap}


def run(argv: Sequence[str]) -> int:
    """Compare, and print each block's CKA with the reference.

    Args:
        argv: Words after `similarity`.

    Returns:
        The exit code.

    Raises:
        InputError: There are not two finished runs of classification on the same classes and sizes of images, no data
            or no such device.
        TrainingStopped: Memory ran out.
    """
    options = parsed(Similarity, argv, verb="similarity")
    from locallearn.analysis import opened_together
    from locallearn.analysis.cka import FEWEST
    from locallearn.training.out_of_memory import SMALLER_BATCHES, memory_explained

    device = options.checked(batch_size=FEWEST, passes=1)
    reference, *others = opened_together(options.runs)
    if not others:
        raise InputError("Give the folder of the reference run, such as back-propagation's, and those of others.")
    activity = f"while batches of {options.batch_size} were compared"
    with memory_explained(activity, remedy=SMALLER_BATCHES, device=device):
        found = {each.name: _compared(reference, each, options, device) for each in others}
    _print(found, reference.name)
    _draw(found, reference.name, options)
    if options.json:
        print(json.dumps({"reference": reference.name, "runs": found}))
    return 0


def _compared(reference: TrainedRun, run: TrainedRun, options: Similarity, device: torch.device) -> dict[str, Any]:
    from locallearn.analysis.cka import FEWEST, similarity
    from locallearn.analysis.exact_cka import exact_similarity
    from locallearn.analysis.stored import comparison

    splits = reference.splits(options.data)
    # Exactly, two parts are looked at at once, which make a batch together.
    size = max(FEWEST, options.batch_size // 2) if options.exact else options.batch_size
    choice: dict[str, Any] = {"count": options.images, "seed": options.seed, "batch_size": size}
    orders = range(1 if options.exact else options.passes)
    passes = [reference.batches(splits.test, device, order=order, **choice) for order in orders]
    models, title = (reference.model(device), run.model(device)), f"similarity of {run.name} with {reference.name}"
    steps = len(passes[0]) * (len(passes[0]) + 1) // 2 if options.exact else sum(map(len, passes))
    with bar(title, steps) as piece:
        if options.exact:
            parts = [inputs for inputs, _ in seen(passes[0], lambda: None)]
            found = exact_similarity(*models, parts, piece=piece).as_dict()
        else:
            found = similarity(*models, chain.from_iterable(seen(each, piece) for each in passes)).as_dict()
    name, path = comparison("similarity", run, reference)
    settings = {"reference": path, "images": passes[0].count, "seed": options.seed, "exact": options.exact}
    settings |= {} if options.exact else {"batch_size": options.batch_size, "passes": options.passes}
    kept(run, name, found, settings=settings)
    return settings | found


def _print(found: dict[str, dict[str, Any]], reference: str) -> None:
    most = max(len(each["curve"]) for each in found.values())
    print(f"CKA with {reference}")
    print_rows([{"block": block + 1} | {n: _cell(each, block) for n, each in found.items()} for block in range(most)])
    print()
    print_rows([{"run": name, "mean": _written(each["mean"]), "with": each["pairing"]} for name, each in found.items()])


def _cell(found: dict[str, Any], block: int) -> str | None:
    if block >= len(found["curve"]):
        return None
    partner = found["partners"][block]
    return _written(found["curve"][block]) + ("" if partner in (None, block + 1) else f" (with {partner})")


def _written(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _draw(found: dict[str, dict[str, Any]], reference: str, options: Similarity) -> None:
    from locallearn.plotting.heatmap import heatmap
    from locallearn.plotting.over_depth import over_depth

    title = f"Similarity with {reference}"
    curves = {name: each["curve"] for name, each in found.items()}
    draw_picture(options.plot, lambda: over_depth(curves, title=title, value="linear CKA, unbiased"))
    matrices = {name: each["matrix"] for name, each in found.items()}
    draw_picture(
        options.heatmap, lambda: heatmap(matrices, title=title, columns=reference, value="linear CKA, unbiased")
    )
