"""Supervised local learning for PyTorch: train any network in gradient-isolated blocks.

Names are imported on first use, so that the command line can answer without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locallearn import datasets, networks
    from locallearn.abstract_method import Context, Method, Site, Window, Wrapper
    from locallearn.engine.captured_step import CapturedStep
    from locallearn.engine.offload import Offload
    from locallearn.engine.step_in_backward import StepInBackward
    from locallearn.engine.step_listener import StepListener
    from locallearn.errors import InputError, TrainingStopped
    from locallearn.execution import Execution
    from locallearn.local_model import LocalModel
    from locallearn.look_ahead import LookAhead
    from locallearn.methods import DGL, MAN, MLAAN, AugLocal, Backprop, InfoPro, PredSim, method
    from locallearn.objective import Batch, Follow, LocalObjective, LocalOutput, Part, Term, WeightedTerms
    from locallearn.parallel.block_parallel import BlockParallel
    from locallearn.parallel.data_parallel import DataParallel
    from locallearn.parallel.layout import Layout
    from locallearn.partitioning import Partition, Unit, partition
    from locallearn.planning.plan import Plan, plan
    from locallearn.tasks import Classification, Detection, Segmentation, Task

_HOMES = {
    "locallearn.abstract_method": ("Context", "Method", "Site", "Window", "Wrapper"),
    "locallearn.engine.captured_step": ("CapturedStep",),
    "locallearn.engine.offload": ("Offload",),
    "locallearn.engine.step_in_backward": ("StepInBackward",),
    "locallearn.engine.step_listener": ("StepListener",),
    "locallearn.errors": ("InputError", "TrainingStopped"),
    "locallearn.execution": ("Execution",),
    "locallearn.local_model": ("LocalModel",),
    "locallearn.look_ahead": ("LookAhead",),
    "locallearn.methods": ("DGL", "MAN", "MLAAN", "AugLocal", "Backprop", "InfoPro", "PredSim", "method"),
    "locallearn.objective": ("Batch", "Follow", "LocalObjective", "LocalOutput", "Part", "Term", "WeightedTerms"),
    "locallearn.parallel.block_parallel": ("BlockParallel",),
    "locallearn.parallel.data_parallel": ("DataParallel",),
    "locallearn.parallel.layout": ("Layout",),
    "locallearn.partitioning": ("Partition", "Unit", "partition"),
    "locallearn.planning.plan": ("Plan", "plan"),
    "locallearn.tasks": ("Classification", "Detection", "Segmentation", "Task"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("datasets", "networks")

__all__ = [
    "DGL",
    "MAN",
    "MLAAN",
    "AugLocal",
    "Backprop",
    "Batch",
    "BlockParallel",
    "CapturedStep",
    "Classification",
    "Context",
    "DataParallel",
    "Detection",
    "Execution",
    "Follow",
    "InfoPro",
    "InputError",
    "Layout",
    "LocalModel",
    "LocalObjective",
    "LocalOutput",
    "LookAhead",
    "Method",
    "Offload",
    "Part",
    "Partition",
    "Plan",
    "PredSim",
    "Segmentation",
    "Site",
    "StepInBackward",
    "StepListener",
    "Task",
    "Term",
    "TrainingStopped",
    "Unit",
    "WeightedTerms",
    "Window",
    "Wrapper",
    "datasets",
    "method",
    "networks",
    "partition",
    "plan",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
