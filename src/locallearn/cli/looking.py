"""Flags of the verbs that look into runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from locallearn.cli.flags import Json
from locallearn.cli.pictures import Overwrite, check_picture
from locallearn.errors import InputError, listed
from locallearn.recipes.choices import checked_device

if TYPE_CHECKING:
    import torch

    from locallearn.analysis import TrainedRun
    from locallearn.datasets.batching import AnyBatches


MOST = 2**32 - 1000
"""What a seed may be: as large as generators take it, with room for those of several draws."""
RunFolders = tyro.conf.Positional[
    Annotated[tuple[Path, ...], tyro.conf.arg(help="Folders of runs.", metavar="RUN [RUN ...]")]
]


@dataclass(frozen=True, kw_only=True)
class Looking:
    """Where the images are, how many are looked at, and where results go.

    Args:
        data: Where the images are; none looks where the run did.
        device: Where to compute: auto, cpu, cuda, cuda:1, mps.
        images: How many images are looked at, drawn from the test images; none takes all.
        seed: Of that draw.
        plot: A file for a chart, such as probe.svg or probe.png.
    """

    data: Path | None = None
    device: str = "auto"
    images: int | None = None
    seed: int = 0
    plot: Path | None = None
    overwrite: Overwrite = False
    json: Json = False

    def checked(self, **least: int) -> torch.device:
        """Refuse what makes no sense before anything is read.

        Args:
            least: What more options must be at least if they are given, by their names.

        Returns:
            The device asked for.

        Raises:
            InputError: This machine has none such, a number is too small, or a picture cannot be written.
        """
        from locallearn.training.assembly import find_device

        problems = [
            f"--{name.replace('_', '-')} must be at least {low}, not {number}."
            for name, low in {"images": 1, "seed": 0, **least}.items()
            if (number := getattr(self, name)) is not None and number < low
        ]
        if self.seed > MOST:
            problems.append(f"--seed must be at most {MOST}, not {self.seed}.")
        if problems:
            raise InputError(listed(problems))
        for flag, path in self.pictures().items():
            check_picture(flag, path, overwrite=self.overwrite)
        return find_device(checked_device(self.device))

    def pictures(self) -> dict[str, Path | None]:
        """The pictures that may be asked for, by their flags."""
        return {"--plot": self.plot}


@dataclass(frozen=True, kw_only=True)
class LookingInBatches(Looking):
    """The same, in batches of images.

    Args:
        batch_size: Images per batch.
    """

    batch_size: int = 500

    def checked(self, **least: int) -> torch.device:
        """See `Looking.checked`."""
        return super().checked(**{"batch_size": 1} | least)


def kept(run: TrainedRun, name: str, found: Mapping[str, Any], *, settings: Mapping[str, Any]) -> None:
    """Keep what was found beside the run; where that cannot be written, say so.

    Args:
        run: What was looked into.
        name: The analysis.
        found: Plain data without NaN.
        settings: What was asked for.
    """
    from locallearn.analysis.stored import store, stored

    try:
        older = stored(run).get(name, {}).get("settings", dict(settings))
        told = ", ".join(f"{key} {value}" for key, value in older.items() if settings.get(key) != value)
        if told:
            print(f"locallearn: this replaces what {name} had found of {run.name} with {told}", file=sys.stderr)
        store(run, name, found, settings=settings)
    except OSError as error:
        print(f"locallearn: what was found is not kept beside the run: {error}", file=sys.stderr)


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar with the time left while something long is done, on a terminal only.

    Args:
        title: What is done.
        total: How many pieces it has.

    Yields:
        Callable[[], None]: To be called after each piece.
    """
    from locallearn.training.progress import Bar

    shown = Bar() if sys.stderr.isatty() else None
    done = 0

    def piece() -> None:
        nonlocal done
        done += 1
        if shown is not None:
            shown.step(done)

    if shown is not None:
        shown.begin(title, done=0, steps=total)
    try:
        yield piece
    finally:
        if shown is not None:
            shown.end()


def seen(batches: AnyBatches, piece: Callable[[], None]) -> Iterator[tuple[Any, Any]]:
    """All batches once, with a piece of a `bar` for each; processes that decode samples end with them.

    Args:
        batches: Of `TrainedRun.batches`.
        piece: To be called after each.

    Yields:
        tuple[Any, Any]: Inputs and targets.
    """
    from locallearn.datasets.batching import closed_after

    with closed_after(batches):
        for batch in batches.epoch(0):
            yield batch
            piece()
