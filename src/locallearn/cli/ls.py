"""List methods, networks, data sets, recipes or sweeps."""

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
from locallearn.errors import InputError
from locallearn.methods import METHODS, PRESETS
from locallearn.recipes import groups, names, summary
from locallearn.sweeping import sweep_file

Kind = Literal["methods", "networks", "datasets", "recipes", "sweeps"]


@dataclass(frozen=True, kw_only=True)
class Ls:
    """List what there is by name; `ls recipes` alone lists the recipes by data set and network.

    Args:
        kind: What to list.
        words: Only names that hold all of these, such as `ls recipes svhn k55 man`.
    """

    kind: tyro.conf.Positional[Kind]
    words: tyro.conf.Positional[tuple[str, ...]] = ()
    format: Format = "table"
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Print names with a line on each.

    Args:
        argv: Words after `ls`.

    Returns:
        The exit code.

    Raises:
        InputError: No name holds the words.
    """
    options = parsed(Ls, argv, verb="ls")
    found = described(options.kind)
    rows = [
        {"name": name, "description": description}
        for name, description in found.items()
        if all(word in name for word in options.words)
    ]
    if not rows:
        wanted = " and ".join(repr(word) for word in options.words)
        raise InputError(
            f"None of the {len(found)} {options.kind} has {wanted} in its name; use fewer or shorter words."
        )
    if options.kind == "recipes" and not options.words and options.format == "table":
        print_rows([{"names begin with": name, "recipes": line} for name, line in groups().items()])
        print("`locallearn ls recipes WORD ...` lists those whose names hold every word.")
    else:
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
            whole = {name: (found.__doc__ or "").splitlines()[0] for name, found in METHODS.items()}
            return whole | {name: preset.title for name, preset in PRESETS.items()}
        case "networks":
            return networks.names()
        case "datasets":
            return {name: f"{spec.title}, {spec.task}, {len(spec.classes)} classes" for name, spec in SPECS.items()}
        case "recipes":
            return {name: summary(name) for name in names()}
        case "sweeps":
            return {name: sweep_file.summary(name) for name in sweep_file.names()}
