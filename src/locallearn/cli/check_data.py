"""Check a data set's files before anything trains on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from locallearn.cli.flags import Json, parsed


@dataclass(frozen=True, kw_only=True)
class CheckData:
    """Read a data set as a run would, and say what is there and what is wrong with it.

    Images that a run decodes one by one are not decoded here: of them it is told what is seen without.

    Args:
        data: Where the files are; none looks in data/NAME.
    """

    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(help="A data set of `locallearn ls datasets`.")]]
    data: Path | None = None
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Print the report on a data set.

    Args:
        argv: Words after `check-data`.

    Returns:
        0, or 2 if there are problems.
    """
    options = parsed(CheckData, argv, verb="check-data")
    from locallearn.datasets.check import check

    report = check(options.name, options.data)
    place = report.root or "the package"
    print(f"{report.name}: {report.layout or 'no known layout'} in {place}")
    for split, count in report.counts.items():
        classes = ", ".join(f"{name} {n}" for name, n in report.splits.get(split, {}).items())
        print(f"{split}: {count} images" + (f", {classes}" if classes else f" of {len(report.classes)} classes"))
    for file in report.files:
        known = {True: ", as published", False: ", NOT as published", None: ""}[file.official]
        print(f"{file.path}: {file.bytes} bytes, sha256 {file.sha256}{known}")
    for problem in report.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if options.json:
        print(json.dumps(report.as_dict()))
    return 2 if report.problems else 0
