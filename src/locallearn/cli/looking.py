"""Flags of the verbs that look into runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.cli.flags import Json
from locallearn.errors import InputError
from locallearn.recipes.choices import checked_device

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from locallearn.analysis import TrainedRun
    from locallearn.datasets.batching import AnyBatches


@dataclass(frozen=True, kw_only=True)
class Looking:
    """Where the images are, how many are looked at, and where results go.

    Args:
        data: Where the images are; none looks where the run did.
        device: Where to compute: auto, cpu, cuda, cuda:1, mps.
        images: How many images are looked at, drawn from the test images; none takes all.
        seed: Of that draw.
        batch_size: Images per batch.
        plot: A file for a chart, such as probe.svg or probe.png.
    """

    data: Path | None = None
    device: str = "auto"
    images: int | None = None
    seed: int = 0
    batch_size: int = 500
    plot: Path | None = None
    json: Json = False

    def found_device(self) -> torch.device:
        """The device asked for.

        Returns:
            The device.

        Raises:
            InputError: This machine has none such, or a number or the plot's name makes no sense.
        """
        from locallearn.training.assembly import find_device

        for flag, number in {"--images": self.images, "--batch-size": self.batch_size}.items():
            if number is not None and number < 1:
                raise InputError(f"{flag} must be at least 1, not {number}.")
        check_chart(self.plot)
        return find_device(checked_device(self.device))


def check_chart(path: Path | None) -> None:
    """Refuse a name for a chart that no chart can have.

    Args:
        path: The file, or None.

    Raises:
        InputError: Its ending is none of a picture's.
    """
    if path is not None and path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"A plot cannot be written as {path.name!r}: end its name with .png, .svg or .pdf.")


def kept(run: TrainedRun, name: str, found: Mapping[str, Any], *, settings: Mapping[str, Any]) -> None:
    """Keep what was found beside the run; where that cannot be written, say so.

    Args:
        run: What was looked into.
        name: The analysis.
        found: Plain data without NaN.
        settings: What was asked for.
    """
    from locallearn.analysis.stored import store

    try:
        store(run, name, found, settings=settings)
    except OSError as error:
        print(f"locallearn: what was found is not kept beside the run: {error}", file=sys.stderr)


def drawn(path: Path | None, draw: Callable[[], Figure]) -> None:
    """Draw a chart, if one is wanted, and say where it is.

    Args:
        path: The file, or None.
        draw: Makes the figure.

    Raises:
        InputError: matplotlib is missing or knows no such file.
    """
    if path is None:
        return
    from locallearn.plotting.figure_file import save_figure, styled

    with styled():
        save_figure(draw(), path)
    print(f"\ndrawn in {path}")


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
