"""How processes share a run: groups of blocks one way, parts of each batch the other way."""

from __future__ import annotations

import re
from dataclasses import dataclass

from locallearn.errors import InputError

FORM = "blocks=2,data=2"


@dataclass(frozen=True)
class Layout:
    """A grid of processes; those with the same blocks stand next to each other.

    Args:
        blocks: Into how many groups the blocks are divided.
        replicas: Into how many parts each batch is divided.

    Raises:
        InputError: A number is below 1.
    """

    blocks: int = 1
    replicas: int = 1

    def __post_init__(self) -> None:
        if min(self.blocks, self.replicas) < 1:
            raise InputError(f"A layout needs at least one process each way, not {self}.")

    @property
    def processes(self) -> int:
        """How many processes it needs."""
        return self.blocks * self.replicas

    def stage(self, rank: int) -> int:
        """Which group of blocks a process has.

        Args:
            rank: The process.

        Returns:
            From 0; the first reads the data.
        """
        return rank // self.replicas

    def replica(self, rank: int) -> int:
        """Which part of each batch a process has.

        Args:
            rank: The process.

        Returns:
            From 0.
        """
        return rank % self.replicas

    def rank(self, stage: int, replica: int) -> int:
        """The process with a group of blocks and a part of each batch.

        Args:
            stage: Group of blocks.
            replica: Part of the batch.

        Returns:
            The process.
        """
        return stage * self.replicas + replica

    def __str__(self) -> str:
        return f"blocks={self.blocks},data={self.replicas}"


def parsed_layout(text: str | None, processes: int) -> Layout:
    """A layout from the command line.

    Args:
        text: `"blocks=2,data=2"`, in any order; what is left out is what remains of the processes. None divides data.
        processes: How many there are.

    Returns:
        The layout.

    Raises:
        InputError: The text has another form, or another number of processes.
    """
    entries = dict(re.findall(r"(\w+)=(\d+)(?:,|$)", text or ""))
    if text is not None and (
        ",".join(f"{k}={v}" for k, v in entries.items()) != text or entries.keys() - {"blocks", "data"}
    ):
        raise InputError(f"--parallel {text!r} is not of the form {FORM}.")
    given = {name: int(number) for name, number in entries.items()}
    blocks = given.get("blocks", max(processes // max(given.get("data", processes), 1), 1))
    layout = Layout(blocks, given.get("data", max(processes // max(blocks, 1), 1)))
    if layout.processes != processes:
        raise InputError(
            f"--parallel {layout} needs {layout.processes} processes and {processes} "
            f"{'is' if processes == 1 else 'are'} there: start it by "
            f"torchrun --nproc-per-node {layout.processes} -m locallearn train ..., or give another --parallel."
        )
    return layout
