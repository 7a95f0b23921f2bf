"""What every result must say of how it was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import locallearn
from locallearn.checkout import commit


def stamp(command: Sequence[str]) -> dict[str, Any]:
    """Machine, versions and commit of this process.

    Args:
        command: The words that repeat the measurement.

    Returns:
        The head of a result.
    """
    return {
        "command": " ".join(f'"{word}"' if " " in word else word for word in command),
        "commit": commit() or "unknown",
        "machine": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "system": platform.system(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "locallearn": locallearn.__version__,
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
