"""Tables of README, documents and benchmarks, generated from code and result files."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import analyses_tables
from benchmarks.benchmark_tables import (
    learned,
    memory_of_papers,
    official,
    precision,
    rows_of,
    savings,
    training,
    windows,
)
from benchmarks.method_tables import departures, results, source
from benchmarks.networks_table import networks
from benchmarks.parallel_table import parallel
from benchmarks.readme_tables import memory_summary, methods, tasks

from locallearn.methods import METHODS

ROOT = Path(__file__).parent.parent

SECTIONS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"memory": memory_summary, "tasks": tasks, "methods": methods},
    "docs/networks.md": {"networks": networks},
    "docs/analyses.md": {
        "runs": analyses_tables.runs,
        "separability": analyses_tables.separability,
        "likeness": analyses_tables.likeness,
        "foresight": analyses_tables.foresight,
    },
    "docs/parallel.md": {"parallel": parallel},
    "benchmarks/README.md": {
        "resnet32": partial(rows_of, "resnet32"),
        "resnet110": partial(rows_of, "resnet110"),
        "official": official,
        "savings": savings,
        "windows": windows,
        "networks": networks,
        "memory_of_papers": memory_of_papers,
        "training": training,
        "learning_check": partial(learned, "learning_check"),
        "precision": precision,
        "precision_runs": partial(learned, "precision_runs"),
    },
} | {
    f"docs/methods/{name}.md": {
        "source": partial(source, name),
        "departures": partial(departures, name),
        "results": partial(results, name),
    }
    for name in METHODS
}


def rendered(path: str) -> str:
    """A document with its generated sections written anew.

    Args:
        path: Of the document within the repository.

    Returns:
        The whole text.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, render in SECTIONS[path].items():
        pattern = rf"(<!-- {name}:[^>]*-->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda match, render=render: f"{match[1]}{render()}\n{match[2]}", text, flags=re.DOTALL)
    return text


def main() -> int:
    """Rewrite the documents, or with `--check` only say which are stale.

    Returns:
        1 if a document is stale.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is stale")
    check = parser.parse_args().check
    stale = [path for path in SECTIONS if rendered(path) != (ROOT / path).read_text(encoding="utf-8")]
    for path in stale:
        if check:
            print(f"{path} is stale: run make tables")
        else:
            (ROOT / path).write_text(rendered(path), encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
