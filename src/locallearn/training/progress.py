"""What a run shows while it works: a bar on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress(ABC):
    """What a run tells; counts only, so that telling it never waits for the device."""

    @abstractmethod
    def begin(self, title: str, *, done: int, steps: int) -> None:
        """A run starts or goes on.

        Args:
            title: What is trained.
            done: Steps already made.
            steps: Steps of the whole run.
        """

    @abstractmethod
    def step(self, done: int) -> None:
        """A step was made.

        Args:
            done: Steps made.
        """

    @abstractmethod
    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        """An epoch has ended.

        Args:
            record: Its line of `metrics.jsonl`.
            epochs: Epochs of the whole run.
        """

    @abstractmethod
    def note(self, message: str) -> None:
        """Something to know.

        Args:
            message: One sentence.
        """

    @abstractmethod
    def end(self) -> None:
        """The run has ended or stopped."""


class Silent(Progress):
    """Nothing is shown."""

    def begin(self, title: str, *, done: int, steps: int) -> None:
        """Nothing."""

    def step(self, done: int) -> None:
        """Nothing."""

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Lines(Progress):
    """A line for each epoch and note.

    Args:
        stream: Where to; standard error if None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr

    def begin(self, title: str, *, done: int, steps: int) -> None:
        """A line with the title and the number of steps."""
        self.note(f"{title}: step {done} of {steps}")

    def step(self, done: int) -> None:
        """Nothing."""

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        """The epoch's line."""
        self.note(epoch_line(record, epochs))

    def note(self, message: str) -> None:
        """The message as a line."""
        print(message, file=self.stream, flush=True)

    def end(self) -> None:
        """Nothing."""


class Bar(Progress):
    """A bar with the time left, and a line for each epoch above it.

    Args:
        stream: A terminal; standard error if None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = RichProgress(*columns, console=Console(file=stream or sys.stderr), transient=True)
        self.task = self.bar.add_task("steps", visible=False)

    def begin(self, title: str, *, done: int, steps: int) -> None:
        """The title as a line, and the bar below it."""
        self.note(title)
        self.bar.update(self.task, completed=done, total=steps, visible=True)
        self.bar.start()

    def step(self, done: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=done)

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        """The epoch's line above the bar."""
        self.note(epoch_line(record, epochs))

    def note(self, message: str) -> None:
        """The message above the bar."""
        self.bar.console.print(message, markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def for_stream(stream: TextIO | None = None) -> Progress:
    """The progress that suits a stream.

    Args:
        stream: Standard error if None.

    Returns:
        A bar on a terminal, else lines.
    """
    chosen = stream or sys.stderr
    return Bar(chosen) if chosen is not None and chosen.isatty() else Lines(chosen)


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """An epoch in one line: mean loss of the last window, accuracy in training, and the task's score.

    Args:
        record: Its line of `metrics.jsonl`.
        epochs: Epochs of the whole run.

    Returns:
        The line.
    """
    parts = [f"epoch {record['epoch']}/{epochs}"]
    if (loss := record["blocks"][-1]["loss"]) is not None:
        parts.append(f"loss {loss:.4f}")
    score = record.get("score", "accuracy")
    for split, name in (("train", "accuracy"), ("validation", score), ("test", score)):
        if (value := record[f"{split}_{name}"]) is not None:
            what = "" if score == "accuracy" else f" {name.replace('_', ' ')}"
            parts.append(f"{split}{what} {value:.2f} %")
    return ", ".join(parts)
