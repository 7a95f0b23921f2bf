"""Write the network of a finished run, without anything that only training needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from locallearn.cli import runs
from locallearn.cli.evaluate import RunFolder, finished_recipe, trained_network
from locallearn.cli.flags import Json, parsed
from locallearn.datasets.spec import find_spec
from locallearn.errors import InputError
from locallearn.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the plain network of a finished run to one file.

    Args:
        out: File to write; it must not exist.
        format: safetensors: the weights under the network's own names. pt2: a program for torch.export.load, with any
            batch size of at least 1.
    """

    run: RunFolder
    out: Path
    format: Literal["safetensors", "pt2"] = "safetensors"
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Write the network.

    Args:
        argv: Words after `export`.

    Returns:
        The exit code.

    Raises:
        InputError: There is no network to write, or the file cannot be made.
    """
    options = parsed(Export, argv, verb="export")
    recipe = finished_recipe(options.run)
    if options.out.exists():
        raise InputError(f"{str(options.out)!r} exists: choose another --out")
    if not options.out.parent.is_dir():
        raise InputError(f"the folder {str(options.out.parent)!r} does not exist: make it, or choose another --out")
    if options.format == "safetensors":
        shutil.copyfile(options.run / runs.NETWORK, options.out)
    else:
        _write_program(options.run, recipe, options.out)
    size = options.out.stat().st_size
    print(f"{options.out}: {size} bytes")
    if options.json:
        print(json.dumps({"network": str(options.out), "format": options.format, "bytes": size}))
    return 0


def _write_program(run: Path, recipe: Recipe, out: Path) -> None:
    import torch

    spec = find_spec(recipe.dataset.name)
    network, _ = trained_network(run, recipe, recipe.dataset.num_classes or len(spec.classes))
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(network, (torch.zeros(2, *spec.shape),), dynamic_shapes=({0: batch},))
    torch.export.save(program, out)
