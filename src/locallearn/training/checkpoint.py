"""Checkpoints that are complete or absent: folders of hashed files that appear under their name in one rename."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from locallearn.atomic_file import TEMPORARY, flush_folder, flushed, rename
from locallearn.errors import InputError, TrainingStopped, listed

MANIFEST = "manifest.json"
SET_ASIDE = "damaged-"
NAME = re.compile(r"step-(\d{8})(?:\.(\d+))?")


def save(folder: Path, step: int, parts: Mapping[str, Any], *, keep: int, in_place_of: Path | None = None) -> Path:
    """Write a checkpoint so that it is seen complete or not at all, then delete the oldest ones.

    Each part goes to a file in a temporary folder beside the final one, is flushed to disk and hashed; the manifest
    comes last; one rename makes the whole visible. Nothing is ever written over: a step's second
    checkpoint gets a suffix.

    Args:
        folder: Holds all checkpoints of a run; made if missing.
        step: Optimizer steps made; the newest checkpoint is the one with the most.
        parts: Name of each file, without suffix, and what goes in: tensors, numbers, text and containers of these.
        keep: How many of the newest checkpoints stay.
        in_place_of: An earlier checkpoint, deleted once the new one is complete.

    Returns:
        The new checkpoint's folder.

    Raises:
        TrainingStopped: The disk is full or cannot be written; earlier checkpoints are as they were.
    """
    temporary = folder / f"{TEMPORARY}{step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, part in parts.items():
            with flushed(temporary / f"{name}.pt") as file:
                torch.save(part, file)
        manifest = _manifest(temporary)
        with flushed(temporary / MANIFEST) as file:
            file.write(manifest)
        flush_folder(temporary)
        final = _free_name(folder, step)
        rename(temporary, final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainingStopped(_failure(folder, step, error)) from error
    if in_place_of is not None and in_place_of.exists():
        _delete(in_place_of)
    prune(folder, keep)
    return final


def load(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint whose files are all what the manifest says.

    Args:
        checkpoint: A checkpoint's folder.

    Returns:
        The parts by name, tensors on the CPU.

    Raises:
        InputError: A file is missing, altered or not of the checkpoint, or holds anything but plain data and tensors.
    """
    if problems := damage(checkpoint):
        raise InputError(f"The checkpoint {checkpoint} cannot be used: {listed(problems)}")
    return {path.stem: _read_part(path) for path in sorted(checkpoint.glob("*.pt"))}


def load_part(checkpoint: Path, name: str) -> Any:
    """Read one file of a checkpoint that was found sound.

    Args:
        checkpoint: A checkpoint's folder.
        name: The part's.

    Returns:
        The part, tensors on the CPU.

    Raises:
        InputError: It holds anything but plain data and tensors.
    """
    return _read_part(checkpoint / f"{name}.pt")


def damage(checkpoint: Path) -> list[str]:
    """Compare a checkpoint with its manifest.

    Args:
        checkpoint: A checkpoint's folder.

    Returns:
        A sentence for each file that is missing, altered or extra; none if it is as it was written.
    """
    path = checkpoint / MANIFEST
    if not path.is_file():
        return [f"{path} is missing."]
    entries = _entries(path)
    if entries is None:
        return [f"{path} was altered."]
    present = {file.name for file in checkpoint.iterdir()} - {MANIFEST}
    problems = [f"{checkpoint / name} is missing." for name in sorted(entries.keys() - present)]
    problems += [f"{checkpoint / name} does not belong to it." for name in sorted(present - entries.keys())]
    for name in sorted(present & entries.keys()):
        if _entry(checkpoint / name) != entries[name]:
            problems.append(f"{checkpoint / name} was altered or cut short.")
    return problems


def names(folder: Path) -> list[Path]:
    """All checkpoints of a run, sound or not.

    Args:
        folder: Holds all checkpoints of a run.

    Returns:
        Their folders, oldest first.
    """
    found = [(match, path) for path in folder.glob("step-*") if (match := NAME.fullmatch(path.name))]
    return [path for match, path in sorted(found, key=lambda pair: (int(pair[0][1]), int(pair[0][2] or 0)))]


def latest(folder: Path, *, fall_back: bool = False) -> Path | None:
    """The newest checkpoint of a run.

    Args:
        folder: Holds all checkpoints of a run.
        fall_back: Rename damaged checkpoints, with a warning, and take the newest sound one.

    Returns:
        Its folder, or None if the run has no checkpoint.

    Raises:
        InputError: The newest is damaged and `fall_back` is False, or none is sound.
    """
    checkpoints = names(folder)
    for checkpoint in reversed(checkpoints):
        problems = damage(checkpoint)
        if not problems:
            return checkpoint
        if not fall_back:
            raise InputError(_refusal(checkpoint, checkpoints, problems))
        aside = checkpoint.with_name(f"{SET_ASIDE}{checkpoint.name}")
        os.replace(checkpoint, aside)
        warnings.warn(f"Damaged checkpoint set aside as {aside}: {listed(problems)}", stacklevel=2)
    if checkpoints:
        raise InputError(f"No checkpoint in {folder} is sound: start the run again in an empty folder.")
    return None


def clean(folder: Path) -> None:
    """Delete what an interrupted save left behind.

    Args:
        folder: Holds all checkpoints of a run.
    """
    for path in folder.glob(f"{TEMPORARY}*"):
        _delete(path)


def prune(folder: Path, keep: int) -> None:
    """Delete the oldest checkpoints; one that cannot be deleted only gives a warning.

    Args:
        folder: Holds all checkpoints of a run.
        keep: How many of the newest stay, at least one.
    """
    for path in names(folder)[:-keep]:
        _delete(path)


def _read_part(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no common class for what it refuses
        reason = str(error).strip().splitlines()[:1]
        raise InputError(f"{path} was refused: it holds more than tensors and plain data. {''.join(reason)}") from None


def _entry(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _manifest(folder: Path) -> bytes:
    return _render({path.name: _entry(path) for path in sorted(folder.iterdir())})


def _render(entries: Mapping[str, Any]) -> bytes:
    files = json.dumps(entries, sort_keys=True)
    own = hashlib.sha256(files.encode()).hexdigest()
    return json.dumps({"files": entries, "sha256": own}, sort_keys=True, indent=1).encode()


def _entries(manifest: Path) -> dict[str, Any] | None:
    content = manifest.read_bytes()
    try:
        entries = json.loads(content)["files"]
        return entries if _render(entries) == content else None
    except (ValueError, KeyError, TypeError):
        return None


def _free_name(folder: Path, step: int) -> Path:
    path = folder / f"step-{step:08d}"
    repeat = 0
    while path.exists():
        repeat += 1
        path = folder / f"step-{step:08d}.{repeat}"
    return path


def _delete(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        warnings.warn(f"{path} could not be deleted ({error}); delete it by hand to free its space.", stacklevel=3)


def _failure(folder: Path, step: int, error: BaseException) -> str:
    while not isinstance(error, OSError) and error.__context__ is not None:
        error = error.__context__  # torch's writer hides the disk's own error behind one of its own
    return (
        f"The checkpoint of step {step} could not be written to {folder} ({error}). "
        "Earlier checkpoints are intact: make room, then resume."
    )


def _refusal(checkpoint: Path, checkpoints: list[Path], problems: list[str]) -> str:
    older = checkpoints[: checkpoints.index(checkpoint)]
    remedy = (
        f"give --fall-back to set it aside and go on from {older[-1]}" if older else "start the run again elsewhere"
    )
    return f"The newest checkpoint {checkpoint} is damaged; {remedy}. {listed(problems)}"
