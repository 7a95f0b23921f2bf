"""Gradients summed over processes while the next blocks run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from typing_extensions import override

from locallearn.engine.step_listener import StepListener
from locallearn.errors import InputError
from locallearn.parallel.memory_order import dense_strides
from locallearn.parallel.sharding import is_sharded
from locallearn.parallel.watch import Watch

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel

BUCKET_BYTES = 4 * 2**20
"""Gradients that are sent together, at least; fewer, larger messages cost less, and later ones overlap less."""


@dataclass
class _Sum:
    work: dist.Work
    parameters: list[nn.Parameter]


class AveragedGradients(StepListener):
    """Sums gradients over a group of processes, each once it is complete and while later blocks run.

    A parameter's gradient is complete after the last window that trains it (`LocalModel.settled_parameters`), so it is
    summed once, also where windows overlap. The gradients that are summed together become views of one buffer.

    Args:
        model: What is trained, the same in every process.
        group: The processes; all if None.
        watch: Explains who does not answer.
        bucket_bytes: Gradients that are sent together, at least.
    """

    def __init__(
        self, model: LocalModel, group: dist.ProcessGroup | None, watch: Watch, *, bucket_bytes: int = BUCKET_BYTES
    ) -> None:
        self._group = group
        self._watch = watch
        self._bucket_bytes = bucket_bytes
        settled = model.settled_parameters()
        self._settled = [[p for p in parameters if not is_sharded(p)] for parameters in settled]
        self._waiting: list[nn.Parameter] = []
        self._sums: list[_Sum] = []
        self.active = False
        for parameter in _first_ones(model):
            parameter.register_post_accumulate_grad_hook(self._refuse_if_not_averaged)

    @override
    def after_window(self, index: int) -> None:
        self._waiting += [parameter for parameter in self._settled[index] if parameter.grad is not None]
        if sum(parameter.nbytes for parameter in self._waiting) >= self._bucket_bytes:
            self.launch()

    def launch(self) -> None:
        """Begin to sum what is complete and not yet under way."""
        kinds: dict[tuple[torch.device, torch.dtype], list[nn.Parameter]] = defaultdict(list)
        for parameter in self._waiting:
            kinds[parameter.device, parameter.dtype].append(parameter)
        for parameters in kinds.values():
            buffer = _gathered(parameters)
            with self._watch.explained("gradients were summed"):
                work = dist.all_reduce(buffer, group=self._group, async_op=True)
            assert work is not None
            self._sums.append(_Sum(work, parameters))
        self._waiting = []

    def finish(self) -> None:
        """Wait until all gradients are summed.

        Raises:
            TrainingStopped: A process does not answer.
        """
        self.launch()
        for each in self._sums:
            self._watch.wait(each.work, "gradients were summed")
        self._sums = []

    def forget(self) -> None:
        """End a pass, also one that an error cut short."""
        self._waiting, self._sums, self.active = [], [], False

    def _refuse_if_not_averaged(self, parameter: Tensor) -> None:
        if not self.active:
            raise InputError(
                "A gradient was computed outside of DataParallel.local_backward, so it would not be averaged over the "
                "processes and their weights would drift apart. Call local_backward of the DataParallel, not of the "
                "model, and no backward() of your own on its parameters."
            )


def _first_ones(model: LocalModel) -> list[nn.Parameter]:
    """Of each block and objective the first parameter that is trained: no backward pass of one goes without it."""
    blocks = [model.block_parameters(index) for index in range(len(model.partition.blocks))]
    objectives = [list(objective.parameters()) for objective in model.objectives]
    trained = [[p for p in parameters if p.requires_grad and not p.is_meta] for parameters in (*blocks, *objectives)]
    return list(dict.fromkeys(parameters[0] for parameters in trained if parameters))


def _gathered(parameters: Sequence[nn.Parameter]) -> Tensor:
    """One buffer of all gradients, which become its views."""
    first = parameters[0]
    buffer = torch.empty(sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device)
    pieces = buffer.split([p.numel() for p in parameters])
    views = [piece.as_strided(p.shape, dense_strides(p)) for piece, p in zip(pieces, parameters, strict=True)]
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_copy_(views, gradients)  # pyright: ignore[reportPrivateImportUsage]
    for parameter, view in zip(parameters, views, strict=True):
        parameter.grad = view
    return buffer
