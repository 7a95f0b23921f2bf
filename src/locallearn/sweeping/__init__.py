"""Sweeps over the fields of a recipe: described in TOML, resumable, every trial an ordinary run."""

from __future__ import annotations

from locallearn.sweeping.sweep_file import Sweep, load, names, summary
from locallearn.sweeping.table import SweepTable, sweep_table

__all__ = ["Sweep", "SweepTable", "load", "names", "summary", "sweep_table"]
