"""The data sets: what they are, how they are read and checked, and the batches of a run.

Importing this package does not import torch; `load` is fetched when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locallearn.datasets.loading import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from locallearn.datasets.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
