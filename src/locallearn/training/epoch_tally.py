"""What an epoch's metrics are made of, summed where the losses are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from locallearn.abstract_method import Window
    from locallearn.local_model import LocalOutput
    from locallearn.tasks import Task


class EpochTally:
    """Sums of every window's loss, terms and right head predictions; read once, when the epoch ends.

    Losses are weighted by batch size. NaN and infinite values (fp16 overflows, whose step is skipped) are left out.

    Args:
        windows: The method's windows.
        task: Says which predictions are right; None only adds up what others summed.
        device: Where the losses are.
    """

    def __init__(self, windows: Sequence[Window], task: Task | None, device: torch.device) -> None:
        self.windows = tuple(windows)
        self.task = task
        self.device = device
        self.wide = torch.float32 if device.type == "mps" else torch.float64
        self.names: list[tuple[int, str]] = []
        self.heads: list[int] = []
        self.sums = self.weights = torch.zeros(0, dtype=self.wide, device=device)
        self.correct = self.counted = torch.zeros(0, dtype=torch.int64, device=device)

    def add(self, outputs: Mapping[int, LocalOutput], targets: Any) -> None:
        """Take in one batch.

        Args:
            outputs: By window, with logits where the window predicts; always of the same windows.
            targets: As the task has them, for N images.
        """
        hits = {
            window: found
            for window, output in outputs.items()
            if output.logits is not None and (found := self._hits(output.logits, targets)) is not None
        }
        if not self.names:
            self._lay_out(outputs, list(hits))
        values = torch.stack([self._value(outputs[window], name) for window, name in self.names])
        finite = torch.isfinite(values)
        self.sums += torch.where(finite, values, 0) * len(targets)
        self.weights += finite * len(targets)
        if hits:
            self.correct += torch.stack([right for right, _ in hits.values()])
            self.counted += torch.stack([self._number(total) for _, total in hits.values()])

    def blocks(self) -> list[dict[str, Any]]:
        """Means over the epoch so far; waits for the device.

        Returns:
            For each window its blocks, role, mean loss and terms (None where no value was finite) and head accuracy in
            percent (None where the task does not count a head's hits).
        """
        records: list[dict[str, Any]] = [
            {"blocks": [window.start, window.stop], "role": window.role, "loss": None, "terms": {}, "accuracy": None}
            for window in self.windows
        ]
        for (window, name), total, weight in zip(self.names, self.sums.tolist(), self.weights.tolist(), strict=True):
            mean = total / weight if weight else None
            if name == "loss":
                records[window]["loss"] = mean
            else:
                records[window]["terms"][name.removeprefix("term ")] = mean
        for window, right, total in zip(self.heads, self.correct.tolist(), self.counted.tolist(), strict=True):
            records[window]["accuracy"] = 100 * right / total if total else None
        return records

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data.

        Returns:
            Everything summed so far.
        """
        return {
            "names": list(self.names),
            "heads": list(self.heads),
            "sums": self.sums.cpu(),
            "weights": self.weights.cpu(),
            "correct": self.correct.cpu(),
            "counted": self.counted.cpu(),
        }

    def absorb(self, state: Mapping[str, Any], *, only: Sequence[int] | None = None) -> None:
        """Take in what another tally summed: of other images, or of other windows.

        Args:
            state: Its `state_dict`.
            only: Windows to take in; all if None.
        """
        names = [(i, (w, name)) for i, (w, name) in enumerate(state["names"]) if only is None or w in only]
        heads = [(i, head) for i, head in enumerate(state["heads"]) if only is None or head in only]
        self._take_in(self.names, names, ("sums", "weights"), state)
        self._take_in(self.heads, heads, ("correct", "counted"), state)

    def _take_in(
        self, own: list[Any], theirs: Sequence[tuple[int, Any]], kept: Sequence[str], state: Mapping[str, Any]
    ) -> None:
        own += [name for _, name in theirs if name not in own]
        places = torch.tensor([own.index(name) for _, name in theirs], dtype=torch.int64, device=self.device)
        for each in kept:
            values = getattr(self, each)
            more = state[each].to(self.device)[[index for index, _ in theirs]]
            wide = torch.cat([values, values.new_zeros(len(own) - len(values))])
            setattr(self, each, wide.index_add(0, places, more))

    def _lay_out(self, outputs: Mapping[int, LocalOutput], heads: list[int]) -> None:
        for window, output in outputs.items():
            self.names += [(window, "loss"), *((window, f"term {name}") for name in sorted(output.terms))]
        self.heads = heads
        self.sums = torch.zeros(len(self.names), dtype=self.wide, device=self.device)
        self.weights = torch.zeros_like(self.sums)
        self.correct = torch.zeros(len(self.heads), dtype=torch.int64, device=self.device)
        self.counted = torch.zeros_like(self.correct)

    def _hits(self, logits: Tensor, targets: Any) -> tuple[Tensor, int | Tensor] | None:
        assert self.task is not None
        return self.task.hits(logits, targets)

    def _value(self, output: LocalOutput, name: str) -> Tensor:
        value = output.loss if name == "loss" else output.terms[name.removeprefix("term ")]
        return value.detach().to(self.wide)

    def _number(self, total: int | Tensor) -> Tensor:
        # A fill, which unlike a copy does not wait for the device.
        return total if isinstance(total, Tensor) else torch.full((), total, dtype=torch.int64, device=self.device)
