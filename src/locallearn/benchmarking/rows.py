"""The rows of the benchmark as data: what is trained how, and in which precision."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from locallearn.abstract_method import Method
from locallearn.errors import InputError
from locallearn.execution import PLAIN, Execution
from locallearn.methods import DGL, MAN, MLAAN, AugLocal, Backprop, InfoPro, PredSim

Precision = Literal["fp32", "bf16"]

PLAIN_NAME = "plain PyTorch"
"""The row that all others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to train.

    Args:
        name: What tables call it; what stands before the first comma names its family.
        precision: Arithmetic of the forward passes.
        method: How blocks learn; None for plain PyTorch on the untouched network.
        execution: How the method's steps are carried out.
        cut: Whose published cuts, where the network has any.
        step_in_backward: Whether the optimizer steps block by block, see `StepInBackward`.
        segments: Cut by memory into few blocks, 1.6 times the root of the number of units, as suits checkpointing.
        micro_batches: Plain PyTorch: parts of the batch whose gradients are added up.
        memory_budget: Plain PyTorch under `torch.compile`: share of the activations that it may keep.
    """

    name: str
    precision: Precision = "fp32"
    method: Method | None = None
    execution: Execution = PLAIN
    cut: str = "auglocal"
    step_in_backward: bool = False
    segments: bool = False
    micro_batches: int = 1
    memory_budget: float | None = None

    @property
    def family(self) -> str:
        """The part of the name before the first comma."""
        return self.name.partition(",")[0]

    @property
    def compiled(self) -> bool:
        """Whether generated code runs, whose memory no meter of PyTorch's operators sees."""
        return self.memory_budget is not None or self.execution.compile


_INFOPRO = InfoPro(task_loss="cross_entropy")
_BLOCKS = Execution(recompute="blocks")
_IN_PLACE = Execution(lean="in_place")
_LEAN = Execution(lean="recompute")

_RIVALS = (
    Row(name=PLAIN_NAME),
    Row(name=f"{PLAIN_NAME}, 4 micro-batches", micro_batches=4),
    Row(name=f"{PLAIN_NAME}, compiled, memory budget 0.5", memory_budget=0.5),
    Row(name="backprop", method=Backprop()),
    Row(name="backprop, checkpointing", method=Backprop(), execution=_BLOCKS),
    Row(name="backprop, checkpointing, fewer segments", method=Backprop(), execution=_BLOCKS, segments=True),
)
_METHODS = (
    Row(name="dgl", method=DGL()),
    Row(name="dgl, lean in_place", method=DGL(), execution=_IN_PLACE),
    Row(name="dgl, lean recompute", method=DGL(), execution=_LEAN),
    Row(name="dgl, compiled", method=DGL(), execution=Execution(compile=True)),
    Row(name="dgl, heads grouped", method=DGL(), execution=Execution(group_heads=True)),
    Row(name="dgl, step in backward", method=DGL(), step_in_backward=True),
    Row(name="predsim", method=PredSim()),
    Row(name="predsim, lean in_place", method=PredSim(), execution=_IN_PLACE),
    Row(name="predsim, lean recompute", method=PredSim(), execution=_LEAN),
    Row(name="infopro", method=_INFOPRO),
    Row(name="auglocal", method=AugLocal()),
    Row(name="predsim+man", method=MAN(PredSim())),
    Row(name="dgl+man", method=MAN()),
    Row(name="dgl+man, blocks recomputed", method=MAN(), execution=_BLOCKS),
    Row(name="dgl+man, MAN++ head", method=MAN(DGL(head="man"))),
    Row(name="dgl+man, MAN++ head, blocks recomputed", method=MAN(DGL(head="man")), execution=_BLOCKS),
    Row(
        name="dgl+man, MAN++ head, blocks recomputed, step in backward",
        method=MAN(DGL(head="man")),
        execution=_BLOCKS,
        step_in_backward=True,
    ),
    Row(name="infopro+man", method=MAN(_INFOPRO), cut="man"),
    Row(name="infopro+man, blocks recomputed", method=MAN(_INFOPRO), cut="man", execution=_BLOCKS),
    Row(name="mlaan", method=MLAAN(), cut="mlaan"),
    Row(name="mlaan, leaps recomputed", method=MLAAN(), cut="mlaan", execution=Execution(recompute="branches")),
    Row(name="mlaan, multilaminar only", method=MLAAN(leap="none"), cut="mlaan"),
)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def in_all_precisions(rows: Sequence[Row], precisions: Sequence[Precision] = PRECISIONS) -> tuple[Row, ...]:
    """Rows once for each precision.

    Args:
        rows: In any precision.
        precisions: Those wanted.

    Returns:
        All rows of the first precision, then of the next.
    """
    return tuple(dataclasses.replace(row, precision=precision) for precision in precisions for row in rows)


ROWS = in_all_precisions((*_RIVALS, *_METHODS))
"""Every row of the published tables."""
RIVALS = in_all_precisions(_RIVALS)
"""What a user would do without local learning, and back-propagation by this package."""


def selected(rows: Sequence[Row], words: Sequence[str]) -> tuple[Row, ...]:
    """The rows that words name, and always plain PyTorch in their precisions.

    Args:
        rows: To choose from.
        words: Names or families, several of them joined by commas if that is no name itself.

    Returns:
        Those rows in their order.

    Raises:
        InputError: A word names no row.
    """
    known = {row.name for row in rows} | {row.family for row in rows}
    wanted: set[str] = set()
    for word in words:
        names = [word] if word in known else [part.strip() for part in word.split(",")]
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise InputError(f"There is no row {name!r}.{hint} The rows are {'; '.join(sorted(known))}.")
        wanted.update(names)
    return tuple(row for row in rows if {row.name, row.family} & wanted or row.name == PLAIN_NAME)
