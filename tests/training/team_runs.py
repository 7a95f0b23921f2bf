"""Runs in several processes, forked from this one as torchrun would start them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from locallearn.errors import InputError, TrainingStopped
from locallearn.parallel import watch as watch_module
from locallearn.parallel.layout import Layout
from locallearn.parallel.team import Team
from locallearn.parallel.watch import Watch
from locallearn.training import train

PATIENCE = 40
ALONE = Layout()


def in_team(
    layout: Layout,
    work: Callable[[Team], object],
    *,
    timeout: float = 20,
    order: Sequence[int] | None = None,
    halts: int | None = None,
) -> list[str]:
    """How `work(team)` ended in every process, by rank: `"done"`, `"exit 143"`, an error's name and text, or `"gone"`.

    The process `halts`, which stops itself, is killed when the others have ended.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        children = {
            rank: context.Process(target=_child, args=(rank, layout, folder, work, timeout))
            for rank in order or range(layout.processes)
        }
        for child in children.values():
            child.start()
        until = time.monotonic() + PATIENCE
        for rank, child in children.items():
            if rank != halts:
                child.join(max(until - time.monotonic(), 0))
        hang = [rank for rank, child in children.items() if child.is_alive() and rank != halts]
        for child in children.values():
            child.kill()
            child.join()
        ends = [folder / f"{rank}.txt" for rank in range(layout.processes)]
        found = [end.read_text() if end.exists() else "gone" for end in ends]
        assert not hang, f"processes {hang} hang: {found}"
        return found


def trained_by(layout: Layout, recipe, out: Path, *, prepare: Callable[[Team], object] | None = None, **options):
    """How a run ended in every process; `prepare` may change what one of them does."""

    def work(team: Team):
        if prepare is not None:
            prepare(team)
        train(recipe, out, team=team, resume=options.get("resume", False))

    return in_team(layout, work, **{name: options[name] for name in ("timeout", "order", "halts") if name in options})


def at_step(step: int, act: Callable[[], object]) -> None:
    """From now on this process does something before a step, counted from 1."""
    begin = Watch.begin_step

    def begin_step(self, number):
        begin(self, number)
        if number == step:
            act()

    Watch.begin_step = begin_step


def before_call(module, name: str, number: int, act: Callable[[], object]) -> None:
    """From now on this process does something before it calls a function for the n-th time."""
    function, calls = getattr(module, name), []

    def called(*args, **kwargs):
        calls.append(None)
        if len(calls) == number:
            act()
        return function(*args, **kwargs)

    setattr(module, name, called)


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def impatient():
    """Who is gone or stands still is recognised sooner."""
    before = watch_module.BEAT, watch_module.SILENCE
    watch_module.BEAT, watch_module.SILENCE = 0.1, 0.5
    yield
    watch_module.BEAT, watch_module.SILENCE = before


def _child(rank: int, layout: Layout, folder: Path, work: Callable[[Team], object], timeout: float) -> None:
    torch.set_num_threads(1)
    try:
        ending = _ending(rank, layout, folder, work, timeout)
    except BaseException:
        ending = traceback.format_exc()
    (folder / f"{rank}.new").write_text(ending)
    (folder / f"{rank}.new").rename(folder / f"{rank}.txt")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _ending(rank: int, layout: Layout, folder: Path, work: Callable[[Team], object], timeout: float) -> str:
    try:
        if layout.processes == 1:
            work(Team())
            return "done"
        store = dist.FileStore(str(folder / "store"), layout.processes)
        patience = timedelta(seconds=timeout)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=layout.processes, timeout=patience)
        with Watch(store, rank, layout.processes, timeout) as watch:
            work(Team(rank, layout, watch, store))
    except SystemExit as request:
        return f"exit {request.code}"
    except (InputError, TrainingStopped) as error:
        return f"{type(error).__name__}: {error}"
    return "done"
