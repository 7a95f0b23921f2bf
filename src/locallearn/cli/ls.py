"""List methods, networks, data sets or recipes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

from locallearn import networks
from locallearn.cli.flags import Format, Json, parsed
from locallearn.cli.tables import print_rows
from locallearn.datasets.registry import SPECS
from locallearn.methods import METHODS
from locallearn.recipes import load, names

Kind = Literal["methods", "networks", "datasets", "recipes"]


@dataclass(frozen=True, kw_only=True)
class Ls:
    """List what there is by name.

    Args:
        kind: What to list.
    """

    kind: tyro.conf.Positional[Kind]
    format: Format = "table"
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Print names with a line on each.

    Args:
        argv: Words after `ls`.

    Returns:
        The exit code.
    """
    options = parsed(Ls, argv, verb="ls")
    rows = [{"name": name, "description": description} for name, description in described(options.kind).items()]
    print_rows(rows, form=options.format)
    if options.json:
        print(json.dumps({options.kind: rows}))
    return 0


def described(kind: Kind) -> dict[str, str]:
    """The names of a kind.

    Args:
        kind: What to list.

    Returns:
        Name to a line on it.
    """
    match kind:
        case "methods":
            return {name: (found.__doc__ or "").splitlines()[0] for name, found in METHODS.items()}
        case "networks":
            return networks.names()
        case "datasets":
            return {name: f"{spec.title}, {len(spec.classes)} classes" for name, spec in SPECS.items()}
        case "recipes":
            return {name: load(name).title for name in names()}
