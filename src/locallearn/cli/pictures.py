"""Pictures that verbs write: refused before anything is computed for them, and drawn at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from locallearn.errors import InputError
from locallearn.plotting.figure_file import ENDINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Overwrite = Annotated[
    bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="Let pictures replace files that are there.")
]


def check_picture(flag: str, path: Path | None, *, overwrite: bool) -> None:
    """Refuse a picture that could not be written, before anything is computed for it.

    Args:
        flag: The flag that names the file.
        path: The file; None: no picture is wanted.
        overwrite: Whether it may be there already.

    Raises:
        InputError: It exists, has no folder, or an ending that says nothing.
    """
    if path is not None and path.suffix.lower() not in ENDINGS:
        raise InputError(f"{flag} {str(path)!r} must end in .png, .svg or .pdf.")
    if path is not None and not path.parent.is_dir():
        raise InputError(f"There is no folder {str(path.parent)!r} for {flag}: make it first.")
    if path is not None and path.is_dir():
        raise InputError(f"{str(path)!r} is a folder: choose another {flag}.")
    if path is not None and path.exists() and not overwrite:
        raise InputError(f"{str(path)!r} exists: choose another {flag}, or add --overwrite.")


def draw_picture(path: Path | None, draw: Callable[[], Figure]) -> None:
    """Draw a chart, if one is wanted, and say where it is.

    Args:
        path: The file, or None.
        draw: Makes the figure.

    Raises:
        InputError: matplotlib is missing.
    """
    if path is None:
        return
    from locallearn.plotting.figure_file import save_figure, styled

    with styled():
        save_figure(draw(), path)
    print(f"\ndrawn in {path}")
