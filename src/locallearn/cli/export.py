"""Write the network of a finished run, without anything that only training needed."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from locallearn import atomic_file
from locallearn.cli.evaluate import RunFolder, finished_recipe, trained_network
from locallearn.cli.flags import Json, parsed
from locallearn.datasets.registry import find_spec
from locallearn.errors import InputError
from locallearn.recipes import Recipe
from locallearn.recipes.stored import NETWORK


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
        raise InputError(f"{str(options.out)!r} exists: choose another --out.")
    if not options.out.parent.is_dir():
        raise InputError(f"The folder {str(options.out.parent)!r} does not exist: make it, or choose another --out.")
    if options.format == "safetensors":
        trained_network(options.run, recipe)
        content = (options.run / NETWORK).read_bytes()
    else:
        content = _program(options.run, recipe)
    try:
        atomic_file.write(options.out, content)
    except OSError as error:
        raise InputError(f"{str(options.out)!r} cannot be written ({error}): choose another --out.") from error
    print(f"{options.out}: {len(content)} bytes")
    if options.json:
        print(json.dumps({"network": str(options.out), "format": options.format, "bytes": len(content)}))
    return 0


def _program(run: Path, recipe: Recipe) -> bytes:
    import torch

    from locallearn.datasets.batching import augmented

    section, spec = recipe.dataset, find_spec(recipe.dataset.name)
    spec = augmented(spec, section.augmentation.over(spec.augmentation))
    network, _ = trained_network(run, recipe)
    batch = torch.export.Dim("batch", min=1)
    buffer = io.BytesIO()
    try:
        program = torch.export.export(network, (torch.zeros(2, *spec.shape),), dynamic_shapes=({0: batch},))
        torch.export.save(program, buffer)
    except Exception as error:  # torch.export names no common class for what it cannot trace
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"torch.export makes no program of the network {recipe.network.name!r} ({reason}): export its weights by "
            "--format safetensors."
        ) from error
    return buffer.getvalue()
