"""Flags of the verbs that look into runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.cli.flags import Json
from locallearn.errors import InputError
from locallearn.recipes.choices import checked_device

if TYPE_CHECKING:
    import torch


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
        if self.plot is not None and self.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise InputError(f"A plot cannot be written as {self.plot.name!r}: end its name with .png, .svg or .pdf.")
        return find_device(checked_device(self.device))
