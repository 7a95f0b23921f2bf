"""Several processes that know each other, forked from this one."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = 150


def in_processes(count: int, folder: Path, work: Callable[..., Any], *args: Any, apart: bool = False) -> list[Any]:
    """What `work(rank, *args)` returned in each of so many processes: tensors and plain data.

    All must end well; processes `apart` may fail, and need not wait for each other at the end: then what one says
    is its error's text, or None if it ended without a word.
    """
    return begun(count, folder, work, *args, apart=apart)()


def begun(
    count: int, folder: Path, work: Callable[..., Any], *args: Any, apart: bool = False
) -> Callable[[], list[Any]]:
    """Like `in_processes`, but what is returned waits for them when it is called."""
    context = multiprocessing.get_context("fork")
    # As daemons they end with this process, also where a test has failed before it waited for them.
    given = [(rank, count, folder, work, args, apart) for rank in range(count)]
    children = [context.Process(target=_child, args=each, daemon=True) for each in given]
    for child in children:
        child.start()
    until = time.monotonic() + PATIENCE
    return lambda: _ended(children, until, folder, apart)


def _ended(children: list[Any], until: float, folder: Path, apart: bool) -> list[Any]:
    for child in children:
        child.join(max(until - time.monotonic(), 0))
    alive = [child for child in children if child.is_alive()]
    for child in alive:
        child.kill()
        child.join()
    assert not alive, f"{len(alive)} of {len(children)} processes hang"
    files = [folder / f"{rank}.pt" for rank in range(len(children))]
    found = [torch.load(file, weights_only=True) if file.exists() else None for file in files]
    failed = [text for text, child in zip(found, children, strict=True) if child.exitcode]
    assert apart or not failed, failed
    return found


def _child(rank: int, count: int, folder: Path, work: Callable[..., Any], args: tuple[Any, ...], apart: bool) -> None:
    torch.set_num_threads(1)
    code = 0
    try:
        store = dist.FileStore(str(folder / "store"), count)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=timedelta(seconds=PATIENCE))
        found = work(rank, *args)
        torch.save(found, folder / f"{rank}.pt")
        if not apart:
            dist.barrier()
    except BaseException as error:
        traceback.print_exc()
        torch.save(f"{type(error).__name__}: {error}", folder / f"{rank}.pt")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
