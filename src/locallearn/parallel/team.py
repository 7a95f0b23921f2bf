"""The processes that train one run together, and how they come to agree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from locallearn.errors import InputError, TrainingStopped, listed
from locallearn.parallel.layout import Layout, parsed_layout
from locallearn.parallel.watch import Watch

Found = TypeVar("Found")
STOP = "stop"


class Team:
    """All processes of a run; alone, nothing has to be agreed on.

    Args:
        rank: This process.
        layout: How they share blocks and batches.
        watch: Explains who does not answer.
        store: What all of them read and write; None if there is one process alone.
    """

    def __init__(
        self, rank: int = 0, layout: Layout | None = None, watch: Watch | None = None, store: Store | None = None
    ) -> None:
        self._lasting = store and PrefixStore("locallearn", store)
        self.rank = rank
        self.layout = layout or Layout()
        self.watch = watch or Watch(None, 0, 1, 0)
        self._store = store and PrefixStore(f"locallearn/attempt{_restarts()}", store)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.layout.processes == 1

    @property
    def stage(self) -> int:
        """Which group of blocks is here."""
        return self.layout.stage(self.rank)

    @property
    def replica(self) -> int:
        """Which part of each batch is here."""
        return self.layout.replica(self.rank)

    def shared(self, work: Callable[[], Found]) -> Found:
        """Do something in the leading process alone, and know in all what came of it.

        Args:
            work: Returns plain data.

        Returns:
            What it returned.

        Raises:
            InputError: As it raised.
            TrainingStopped: Likewise.
        """
        if self.is_alone:
            return work()
        told: list[Any] = [_attempt(work) if self.leads else None]
        with self.watch.explained("the first process was awaited"):
            dist.broadcast_object_list(told, 0)
        return _outcome(told[0])

    def together(self, work: Callable[[], Found]) -> Found:
        """Do something in every process; if it fails in one, it fails in all with the same message.

        Args:
            work: What each does.

        Returns:
            What it returned here.

        Raises:
            InputError: One process raised it.
            TrainingStopped: One process raised it, and none an `InputError`.
        """
        if self.is_alone:
            return work()
        kind, found = _attempt(work)
        failures = self.exchanged(None if kind == "found" else (kind, str(found)), "processes waited for each other")
        if any(failures):
            _raise_first(failures)
        return found

    @property
    def began_again(self) -> bool:
        """Whether torchrun has started these processes anew, because one of the first ones ended."""
        return not self.is_alone and _restarts() > 0

    def kept(self, name: str, make: Callable[[], str]) -> str:
        """Something that is settled once, however often torchrun starts the processes anew.

        Args:
            name: What it is.
            make: Settles it.

        Returns:
            What was settled first.
        """
        if self._lasting is None:
            return make()
        if not self._lasting.check([name]):
            self._lasting.set(name, make())
        return self._lasting.get(name).decode()

    def check_alike(self, what: str, value: str) -> None:
        """Refuse processes that were started differently.

        Args:
            what: The setting, for the message.
            value: What it is here.

        Raises:
            InputError: It is not the same in all.
        """
        found = self.exchanged(value, "settings were compared")
        if different := [rank for rank, other in enumerate(found) if other != found[0]]:
            raise InputError(
                f"All processes must be started by the same command, but {what} is {found[0]} in process 0 and "
                f"{found[different[0]]} in process {different[0]}."
            )

    def exchanged(self, value: Any, meanwhile: str) -> list[Any]:
        """Tell all processes something.

        Args:
            value: Plain data.
            meanwhile: What is going on, for the message if a process does not answer.

        Returns:
            Everybody's, by rank.

        Raises:
            TrainingStopped: A process has ended, or does not answer in time.
        """
        if self.is_alone:
            return [value]
        found: list[Any] = [None] * self.layout.processes
        with self.watch.explained(meanwhile):
            dist.all_gather_object(found, value)
        return found

    def gathered(self, value: Any) -> list[Any] | None:
        """Hand something to the leading process.

        Args:
            value: Plain data and tensors.

        Returns:
            Everybody's, by rank, in the leading process; None in the others.
        """
        if self.is_alone:
            return [value]
        host = torch.device("cpu")
        with self.watch.explained("results were gathered"):
            # One after another, each as long as it is: gather_object makes all as long as the longest.
            if not self.leads:
                dist.send_object_list([value], 0, device=host)
                return None
            return [value, *(_received(rank, host) for rank in range(1, self.layout.processes))]

    def any(self, flag: bool) -> bool:
        """Whether something is so in one process at least.

        Args:
            flag: Whether it is here.

        Returns:
            The same in all.
        """
        if self.is_alone:
            return flag
        found = torch.tensor([int(flag)])
        with self.watch.explained("processes waited for each other"):
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found.item())

    def ask_to_stop(self, code: int) -> None:
        """Tell the other processes that this one was asked to stop.

        Args:
            code: What processes should exit with.
        """
        if self._store is not None:
            with self.watch.explained("a stop was announced"):
                self._store.set(STOP, str(code))

    def asked_to_stop(self) -> int | None:
        """Whether a process was asked to stop.

        Returns:
            The code to exit with; None if none was.
        """
        if self._store is None:
            return None
        with self.watch.explained("a stop was looked for"):
            return int(self._store.get(STOP)) if self._store.check([STOP]) else None


@contextmanager
def joined(parallel: str | None, *, device: str, timeout: float) -> Iterator[Team]:
    """Join the processes that torchrun started beside this one.

    Args:
        parallel: How they share blocks and batches, see `parsed_layout`.
        device: The recipe's.
        timeout: Seconds that a process waits for another.

    Yields:
        Team: The processes; one alone without torchrun.

    Raises:
        InputError: There are not as many processes as the layout needs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    layout = parsed_layout(parallel, world)
    if world == 1:
        yield Team()
        return
    rank = int(os.environ["RANK"])
    accelerated = device != "cpu" and torch.cuda.is_available()
    if accelerated:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    patience = timedelta(seconds=timeout)
    store, *_ = next(rendezvous("env://", timeout=patience))
    # What earlier processes left in torchrun's store must not be taken for addresses of these.
    own = PrefixStore(f"attempt{_restarts()}", store)
    backend = "cpu:gloo,cuda:nccl" if accelerated else "gloo"
    dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=patience)
    with Watch(own, rank, world, timeout) as watch:
        team = Team(rank, layout, watch, store)
        team.check_alike("--parallel", str(layout))
        yield team
        with watch.explained("the others were awaited at the end"):
            dist.barrier()
    dist.destroy_process_group()


def _received(rank: int, device: torch.device) -> Any:
    found: list[Any] = [None]
    dist.recv_object_list(found, rank, device=device)
    return found[0]


def _restarts() -> int:
    # The store of torchrun outlives processes that it starts again.
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _attempt(work: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "found", work()
    except InputError as error:
        return "refused", str(error)
    except (TrainingStopped, OSError) as error:
        return "stopped", str(error)


def _outcome(told: tuple[str, Any]) -> Any:
    kind, found = told
    if kind == "found":
        return found
    raise (InputError if kind == "refused" else TrainingStopped)(found)


def _raise_first(failures: list[tuple[str, str] | None]) -> None:
    refused = any(failure is not None and failure[0] == "refused" for failure in failures)
    chosen = {
        rank: text
        for rank, each in enumerate(failures)
        if each
        for kind, text in [each]
        if (kind == "refused") == refused
    }
    texts = list(dict.fromkeys(chosen.values()))
    if len(texts) == 1 and len(chosen) == len(failures):
        message = texts[0]
    else:
        message = listed([f"Process {rank}: {text}" for rank, text in chosen.items()])
    raise (InputError if refused else TrainingStopped)(message)
