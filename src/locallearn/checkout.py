"""The commit of the package's own source, where it runs from a checkout."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path


@functools.cache
def commit() -> str | None:
    """Which commit runs.

    Returns:
        Twelve digits as of the first call in this process, with `-dirty` behind them if tracked files but results were
        changed or the package has files that git does not know; None where it was installed, or there is no git.
    """
    try:
        # A package installed below somebody else's checkout is no tracked file of it.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benchmarks/results")
        changed += _git("ls-files", "--others", "--exclude-standard", ".")
        return _git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return found.stdout.strip()
