"""What every result file must say of how it was made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from locallearn.benchmarking.stamp import stamp

RESULTS = Path(__file__).parent / "results"


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
    command = ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
    path.write_text(
        json.dumps({"benchmark": name, **stamp(command), **facts, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    return path
