"""Show what channels of every block make of test images, side by side over runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.cli.flags import parsed
from locallearn.cli.looking import Looking, RunFolders, bar, kept
from locallearn.cli.pictures import draw_picture
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError, listed

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor

    from locallearn.analysis import TrainedRun
    from locallearn.analysis.feature_maps import BlockMaps

MOST_BLOCKS = 8
FEW_IMAGES = 2


@dataclass(frozen=True, kw_only=True)
class Features(Looking):
    """Show what channels of every block make of test images, side by side over runs.

    Args:
        plot: The file for the picture, such as features.png.
        images_at: Which test images, counted from 0; without, so many as --images says, or 2, are drawn by --seed.
        channels: How many channels of each block: those of largest variance over the images shown.
        channel_numbers: These channels of every block instead, counted from 0.
        blocks: Which blocks, counted from 1; without, at most 8, evenly spaced.
    """

    runs: RunFolders
    plot: Path | None = Path("features.png")
    images_at: tuple[int, ...] = ()
    channels: int = 8
    channel_numbers: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Shown:
    """The images.

    Args:
        places: Which of the test images.
        names: The names of their classes.
        inputs: (N, C, H, W), as the networks read them.
        pictures: (N, H, W, 3), from 0 to 1.
    """

    places: tuple[int, ...]
    names: tuple[str, ...]
    inputs: Tensor
    pictures: Tensor


def run(argv: Sequence[str]) -> int:
    """Compute the maps, print which channels are shown, and draw.

    Args:
        argv: Words after `features`.

    Returns:
        The exit code.

    Raises:
        InputError: Runs, images, blocks or channels are refused.
        TrainingStopped: Memory ran out.
    """
    from locallearn.analysis import opened_together
    from locallearn.training.out_of_memory import memory_explained

    options = parsed(Features, argv, verb="features")
    device = options.checked(channels=1)
    runs = opened_together(options.runs)
    shown = _images(runs[0], options, device)
    found: dict[str, list[BlockMaps]] = {}
    activity, remedy = f"with {len(shown.places)} images at once", "Give a smaller --images."
    with memory_explained(activity, remedy=remedy, device=device), bar("feature maps", len(runs)) as piece:
        for each in runs:
            found[each.name] = _maps(each, options, shown, device)
            settings = {"images_at": list(shown.places), "channel_numbers": list(options.channel_numbers)}
            kept(each, "features", {"blocks": _told(found[each.name])}, settings=settings)
            piece()
    print_rows([{"run": name} | row for name, maps in found.items() for row in _rows(maps)])
    draw_picture(options.plot, lambda: features_figure(found, shown, by_number=bool(options.channel_numbers)))
    if options.json:
        told = {name: {"blocks": _told(maps)} for name, maps in found.items()}
        print(json.dumps({"images_at": list(shown.places), "runs": told}))
    return 0


def _images(run: TrainedRun, options: Features, device: torch.device) -> Shown:
    import torch

    from locallearn.datasets.image_set import chosen

    test = run.splits(options.data).test
    if wrong := [place for place in options.images_at if not 0 <= place < len(test)]:
        problems = [f"There is no test image {place}; there are 0 to {len(test) - 1}." for place in wrong]
        raise InputError(listed(problems))
    generator = torch.Generator().manual_seed(options.seed)
    drawn_places = torch.randperm(len(test), generator=generator)[: options.images or FEW_IMAGES]
    places = torch.tensor(options.images_at) if options.images_at else drawn_places.sort().values
    batches = run.batches(chosen(test, places), device, batch_size=len(places))
    ((inputs, labels),) = batches.epoch(0)
    mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (run.spec.mean, run.spec.std))
    pictures = (inputs * std + mean).clamp(0, 1).cpu().expand(-1, 3, -1, -1).movedim(1, -1)
    names = tuple(run.spec.classes[label] for label in labels.tolist())
    return Shown(tuple(places.tolist()), names, inputs, pictures)


def _maps(run: TrainedRun, options: Features, shown: Shown, device: torch.device) -> list[BlockMaps]:
    from locallearn.analysis.feature_maps import evenly_spaced, feature_maps

    model = run.model(device)
    blocks = options.blocks or evenly_spaced(len(model.partition), most=MOST_BLOCKS)
    try:
        return feature_maps(model, shown.inputs, count=options.channels, numbers=options.channel_numbers, blocks=blocks)
    except InputError as error:
        raise InputError(f"{str(run.path)!r}: {error}") from None


def _told(maps: Sequence[BlockMaps]) -> list[dict[str, Any]]:
    return [{"block": each.block, "shape": list(each.shape), "channels": list(each.channels)} for each in maps]


def _rows(maps: Sequence[BlockMaps]) -> list[dict[str, Any]]:
    return [
        row | {"shape": "x".join(map(str, row["shape"])), "channels": " ".join(map(str, row["channels"]))}
        for row in _told(maps)
    ]


def features_figure(found: dict[str, list[BlockMaps]], shown: Shown, *, by_number: bool) -> Figure:
    """The images, and beside each the maps of every run.

    Args:
        found: Maps by the runs' names.
        shown: The images.
        by_number: Whether the channels were asked for.

    Returns:
        The figure.
    """
    from locallearn.plotting.image_grid import Band, TileRow, image_grid

    bands = [
        Band(
            shown.pictures[index].numpy(),
            f"test image {place}\nclass {name}",
            {
                run: [
                    TileRow(f"block {each.block}", each.maps[index].numpy(), [f"#{number}" for number in each.channels])
                    for each in maps
                ]
                for run, maps in found.items()
            },
        )
        for index, (place, name) in enumerate(zip(shown.places, shown.names, strict=True))
    ]
    rule = "as asked for" if by_number else "of largest variance over the images shown, largest first"
    what = "Outputs of blocks, of the last one before its pool and classifier"
    caption = f"{what}. Channels {rule}; #: number of the channel. Every map is brought to its own range."
    return image_grid(bands, title="Feature maps", caption=caption)
