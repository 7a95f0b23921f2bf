"""What every result file must say of how it was made."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import locallearn

RESULTS = Path(__file__).parent / "results"
REQUIRED = ("benchmark", "command", "commit", "machine", "versions", "rows")


def stamp() -> dict[str, Any]:
    """Machine, versions, commit and command of this process.

    Returns:
        The head of a result file.
    """
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(
        describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "command": " ".join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "commit": commit,
        "machine": {"processor": _processor(), "threads": torch.get_num_threads(), "system": platform.system()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "locallearn": locallearn.__version__,
        },
    }


def write(name: str, rows: list[dict[str, Any]], **facts: Any) -> Path:
    """Write a result file.

    Args:
        name: The benchmark's name and the file's.
        rows: One measurement each.
        **facts: What all rows share.

    Returns:
        The file.
    """
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"benchmark": name, **stamp(), **facts, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
