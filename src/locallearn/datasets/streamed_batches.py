"""Batches of samples that are decoded when they are needed, the same however many processes decode them."""

from __future__ import annotations

import math
import signal
import sys
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from locallearn.datasets.batches import WHOLE, Part, check_place, epoch_order, key_seed
from locallearn.errors import InputError, TrainingStopped, listed

if TYPE_CHECKING:
    from locallearn.datasets.samples import Samples, Transform

_HELD = (signal.SIGINT, signal.SIGTERM)
_CAN_HOLD = hasattr(signal, "pthread_sigmask")


class StreamedBatches:
    """Batches of a data set that is read sample by sample, on the device that trains.

    The order of an epoch depends only on (seed, epoch), what is drawn for a sample only on (seed, epoch, index): a run
    resumed mid-epoch needs no random state and decodes nothing that came before, and the number of workers changes
    nothing. PyTorch's global random state is what transforms draw from, and is as it was afterwards.

    Workers start with the first epoch and stay until `close`; on Linux they are forks of this process, so that samples
    need not be pickled, but must open files by themselves when they are read. They leave SIGINT and SIGTERM to this
    process, which answers at its next step, and end with it.

    Args:
        samples: What to draw from.
        batch_size: Samples per batch.
        transform: From a decoded sample to what the network reads; can be pickled.
        seed: Not negative.
        device: Where batches are wanted.
        shuffle: Whether every epoch has its own order, or all have the samples'.
        workers: Processes that decode; 0 decodes in this one.
        drop_last: Whether an epoch leaves out a last, smaller batch.
        as_lists: Whether a batch is a list of images and a list of targets, because each has its own size.
        by_size: Whether a batch whose images differ in size is given as several, each of neighbours of one size.
        rows: Which share of every batch is given here.
        dealt: Which of the batches are given here: every so many.

    Raises:
        InputError: There are no samples, or too few for a batch; batch size, seed or workers are out of range.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        transform: Transform,
        seed: int,
        device: torch.device | str,
        shuffle: bool,
        workers: int,
        drop_last: bool = False,
        as_lists: bool = False,
        by_size: bool = False,
        rows: Part = WHOLE,
        dealt: Part = WHOLE,
    ) -> None:
        problems = {
            "There are no samples to draw batches from.": not len(samples),
            f"batch_size must be at least 1, not {batch_size}.": batch_size < 1,
            f"batch_size {batch_size} is more than the {len(samples)} samples, and drop_last leaves none.": (
                drop_last and 0 < len(samples) < batch_size
            ),
            f"seed must be at least 0, not {seed}.": seed < 0,
            f"workers must be at least 0, not {workers}.": workers < 0,
        }
        if any(problems.values()):
            raise InputError(listed([problem for problem, found in problems.items() if found]))
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.shuffle = shuffle
        self.rows, self.dealt = rows, dealt
        self.count = len(samples) - len(samples) % batch_size if drop_last else len(samples)
        self._drawing = _Drawing()
        self._loader = DataLoader(
            _Seeded(samples, transform, seed),
            batch_sampler=self._drawing,
            collate_fn=_listed if as_lists else _grouped if by_size else _stacked,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals,
            multiprocessing_context=_context() if workers else None,
            generator=torch.Generator(),  # else each epoch draws from the global one
        )
        weakref.finalize(self, _end_workers, self._loader)  # also at the end of a process that did not close them

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(self.count / self.batch_size)

    def epoch(self, index: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """The batches of one epoch; one epoch at a time.

        Args:
            index: Which epoch, from 0.
            start: The first batch to give; those before are not decoded.

        Returns:
            Pairs of inputs, (N, C, H, W) float32, and targets as the samples have them, stacked; or two lists.

        Raises:
            InputError: `index` is negative, or the epoch has no batch `start` and does not end there; while it is
                read, a sample cannot be.
        """
        check_place(index, start, len(self))
        return self._batches(index, start)

    def close(self) -> None:
        """End the workers; another epoch would start new ones."""
        _end_workers(self._loader)

    def _batches(self, index: int, start: int) -> Iterator[tuple[Any, Any]]:
        order = epoch_order(len(self.samples), self.seed, index) if self.shuffle else torch.arange(len(self.samples))
        chosen = [self.rows.rows(batch) for batch in order[: self.count].split(self.batch_size)[start:]]
        chosen = chosen[self.dealt.index :: self.dealt.count]
        self._drawing.keys = [[(index, sample) for sample in batch.tolist()] for batch in chosen]
        batches: Iterator[Any] = _started(self._loader) if chosen else iter(())
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not _lost_worker(error):
                    raise
                raise _explained(error) from None
            if isinstance(batch, _Refusal):
                raise InputError(batch.message)
            for pair in batch:
                yield _moved(pair, self.device)


@dataclass(frozen=True)
class _Refusal:
    """What a worker hands over in place of a batch; raised there, it would arrive as a traceback."""

    message: str


class _Drawing:
    """The epoch and index of every sample of every batch to come."""

    def __init__(self) -> None:
        self.keys: Sequence[list[tuple[int, int]]] = ()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


class _Seeded(Dataset[Any]):
    """Samples, decoded and transformed by random numbers of their own."""

    def __init__(self, samples: Samples, transform: Transform, seed: int) -> None:
        self.samples, self.transform, self.seed = samples, transform, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        try:
            with torch.random.fork_rng(devices=[]):
                # The processor's alone: torch.manual_seed would seed the accelerators too.
                torch.default_generator.manual_seed(key_seed(self.seed, epoch, 1 + index))
                return self.transform(*self.samples[index])
        except InputError as error:
            return _Refusal(str(error))
        except OSError as error:
            return _Refusal(f"Sample {index} of the data set cannot be read ({error}).")


def _stacked(samples: list[Any]) -> Any:
    if refused := _refusal(samples):
        return refused
    shapes = dict.fromkeys(tuple(image.shape) for image, _ in samples)
    if len(shapes) > 1:
        found = ", ".join(map(str, list(shapes)[:2]))
        return _Refusal(f"Images of different sizes ({found}) make no batch: use --batch-size 1, or crop them alike.")
    return [tuple(default_collate(samples))]


def _grouped(samples: list[Any]) -> Any:
    groups = groupby(samples, key=lambda sample: sample[0].shape)
    return _refusal(samples) or [tuple(default_collate(list(group))) for _, group in groups]


def _listed(samples: list[Any]) -> Any:
    return _refusal(samples) or [tuple(map(list, zip(*samples, strict=True)))]


def _refusal(samples: Sequence[Any]) -> _Refusal | None:
    return next((sample for sample in samples if isinstance(sample, _Refusal)), None)


def _end_workers(loader: DataLoader[Any]) -> None:
    iterator, loader._iterator = loader._iterator, None
    if iterator is not None:
        iterator._shutdown_workers()  # pyright: ignore[reportAttributeAccessIssue]


def _leave_signals(worker: int) -> None:
    # A signal to the whole group of processes, as Ctrl-C is, must not end workers before the run has saved its state.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _note)
    if _CAN_HOLD:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def _note(number: int, frame: FrameType | None) -> None:
    # A second one ends the worker: it is how Python ends the children of a process that did not close its batches.
    signal.signal(number, signal.SIG_DFL)


@contextmanager
def _signals_held() -> Iterator[None]:
    # A worker inherits this, so that a signal sent while it starts waits for `_leave_signals` rather than ends it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD) if _CAN_HOLD else ()
    try:
        yield
    finally:
        if _CAN_HOLD:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> str | None:
    return "fork" if sys.platform == "linux" else None


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    with warnings.catch_warnings(), _signals_held():
        # Workers decode on one thread and touch no accelerator; more of them than cores is the user's choice.
        warnings.filterwarnings("ignore", message=".*(multi-threaded|excessive worker).*")
        return iter(loader)


def _lost_worker(error: RuntimeError) -> bool:
    return str(error).startswith("DataLoader worker (pid")


def _explained(error: RuntimeError) -> TrainingStopped:
    reason = str(error).partition("\n")[0]
    return TrainingStopped(
        f"A process that reads samples was ended from outside ({reason}), perhaps for want of memory or of shared "
        "memory: give fewer --dataset.workers."
    )


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: _moved(value, device) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_moved(value, device) for value in batch)
    return batch
