"""A figure as a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#22282d"
ENDINGS = (".png", ".svg", ".pdf")
"""What a picture's name may end in."""
COLORS = ("#4281a4", "#c1666b", "#b5832f", "#5b8c6e", "#9a8c98", "#7d5ba6", "#c97b48", "#32908f", "#8a9a5b")
"""Of lines, in their order; each stands out, by WCAG 2's ratio of 3, from white pages and from dark ones."""
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "grid.color": INK, "svg.fonttype": "none", "svg.hashsalt": "locallearn",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y",
    "axes.axisbelow": True, "grid.alpha": 0.2, "grid.linewidth": 0.5, "legend.frameon": False,
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """How all charts look; draw and save inside.

    Yields:
        None: While charts are drawn.

    Raises:
        InputError: matplotlib is missing.
    """
    try:
        from matplotlib import rc_context
    except ModuleNotFoundError as error:
        raise InputError("A plot needs matplotlib: pip install matplotlib.") from error
    with rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure.

    Args:
        figure: Drawn inside of `styled`.
        path: The file; its ending says how, as in `.png` or `.svg`.

    Raises:
        InputError: It has none of `ENDINGS`.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"A plot cannot be written as {path.name!r}: end its name with .png, .svg or .pdf.")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
