"""Every process trains the whole model on its part of each batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from typing_extensions import override

from locallearn.engine.step_listener import NOBODY, Several, StepListener
from locallearn.errors import InputError
from locallearn.local_model import LocalModel
from locallearn.objective import LocalOutput
from locallearn.parallel import sharding
from locallearn.parallel.averaged_gradients import AveragedGradients
from locallearn.parallel.gathering import Gathering
from locallearn.parallel.watch import Watch
from locallearn.parallel.whole_model import WholeModel, shared_scales


class DataParallel(WholeModel):
    """A model in several processes, each with a part of every batch; gradients are those of the joined batch.

    Gradients are summed block by block while the next blocks run, not by `DistributedDataParallel`: that waits at the
    end of each backward pass until all are summed, so that nothing of the next block overlaps, and it wants one
    forward pass per module, which windows that share blocks do not have. Batch statistics are each process's own,
    unless `torch.nn.SyncBatchNorm` has taken the place of BatchNorm.

    Args:
        model: The same in every process; weights and buffers are taken from the group's first.
        group: The processes; all if None.
        gather: Whether losses that compare samples (PredSim's similarity matching, InfoPro's contrastive loss) compare
            those of all processes, as one process would. Otherwise each compares its own, which is another loss.
        shard: Whether every process keeps a part of each block's parameters, gradients and moments alone
            (`torch.distributed.fsdp.fully_shard`); make the optimizer afterwards. Not for overlapping windows.
        timeout: Seconds to wait for another process.
        watch: Explains who does not answer; one without signs of life if None.

    Raises:
        InputError: torch.distributed was not begun, or the parameters cannot be sharded.

    Example:
        Run by ``torchrun --nproc-per-node 2 script.py``::

            torch.distributed.init_process_group()
            parallel = ll.DataParallel(model)
            for inputs, targets in my_part:
                parallel.local_backward(inputs, targets)
                optimizer.step()
                optimizer.zero_grad()
                model.after_step()
    """

    def __init__(
        self,
        model: LocalModel,
        group: dist.ProcessGroup | None = None,
        *,
        gather: bool = False,
        shard: bool = False,
        timeout: float = 600,
        watch: Watch | None = None,
    ) -> None:
        check_begun()
        super().__init__(model)
        self.watch = watch or Watch(None, dist.get_rank(), dist.get_world_size(), timeout)
        self._group = group
        self._size = dist.get_world_size(group)
        same_values(model, group, self.watch)
        if shard:
            sharding.shard(model, group)
        self.averaging = AveragedGradients(model, group, self.watch)
        self._gathering = Gathering(group, self.watch) if gather else None
        model.gather = self._gathering

    @override
    def local_backward(
        self,
        inputs: Any,
        targets: Any,
        *,
        share: float | None = None,
        average: bool = True,
        keep_logits: bool = False,
        scales: Sequence[float | Tensor] | None = None,
        listener: StepListener = NOBODY,
    ) -> list[LocalOutput]:
        """Add the gradients of the joined batch to `.grad`; every process must call it, each with its part.

        Args:
            inputs: This process's part of the batch.
            targets: Likewise.
            share: How much of the joined batch this part is; if None, all parts are of one size.
            average: False adds this part's gradients alone, for the batches of a step before its last; the sum over
                processes is then of all of them.
            keep_logits: Whether the outputs hold what the local heads predict.
            scales: A further factor for each window's gradients.
            listener: Told of every block, objective and window; with one, each window's gradients are summed before
                it is told that the window is done.

        Returns:
            One output for each window, of this process's part.

        Raises:
            InputError: See `LocalModel.local_backward`.
            TrainingStopped: A process has ended, or does not answer in time.
        """
        self.targets = targets
        share = 1 / self._size if share is None else share
        if self._gathering is not None:
            self._gathering.begin(len(inputs), _device(inputs))
        with averaged(self.averaging, average=average, at_once=listener is not NOBODY) as averaging:
            return self.model.local_backward(
                inputs,
                targets,
                keep_logits=keep_logits,
                scales=shared_scales(scales, share, len(self.model.windows)),
                listener=Several(self.watch, *averaging, listener),
            )

    @override
    def outputs(self, batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """What the network says to batches, by the first process's statistics; set the model's mode first.

        Args:
            batches: Pairs of inputs and targets, of this process.

        Yields:
            tuple: The network's output and the targets of each batch.
        """
        same_statistics(self.model.network, self._group, self.watch)
        yield from super().outputs(batches)


@contextmanager
def averaged(averaging: AveragedGradients, *, average: bool, at_once: bool) -> Iterator[list[StepListener]]:
    """What surrounds a backward pass whose gradients are summed over processes.

    Args:
        averaging: Sums them.
        average: Whether it is to do so in this pass.
        at_once: Whether each window's sum must be there when the window is done.

    Yields:
        list[StepListener]: Whom the pass has to tell.
    """
    averaging.active = True
    try:
        yield [_AtOnce(averaging) if at_once else averaging] if average else []
        if average:
            averaging.finish()
    finally:
        averaging.forget()


def same_values(model: LocalModel, group: dist.ProcessGroup | None, watch: Watch) -> None:
    """Give every process of a group the first one's weights and buffers.

    Args:
        model: Of the same form everywhere.
        group: The processes; all if None.
        watch: Explains who does not answer.
    """
    first = dist.get_global_rank(group, 0) if group is not None else 0
    with watch.explained("weights were shared"), torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            values = tensor.detach().contiguous()
            dist.broadcast(values, first, group=group)
            tensor.copy_(values)


@torch.no_grad()
def same_statistics(network: nn.Module, group: dist.ProcessGroup | None, watch: Watch) -> None:
    """Give every process of a group the first one's batch statistics, by which networks are evaluated and kept.

    Args:
        network: Of the same form everywhere; buffers without values stay so.
        group: The processes; all if None.
        watch: Explains who does not answer.
    """
    first = dist.get_global_rank(group, 0) if group is not None else 0
    with watch.explained("batch statistics were shared"):
        for buffer in network.buffers():
            if not buffer.is_meta:
                values = buffer.contiguous()
                dist.broadcast(values, first, group=group)
                buffer.copy_(values)


def check_begun() -> None:
    """Refuse to go on in a process that knows of no others.

    Raises:
        InputError: torch.distributed was not begun.
    """
    if not dist.is_initialized():
        raise InputError(
            "No other processes are known: start the script by torchrun --nproc-per-node N, and call "
            "torch.distributed.init_process_group() first."
        )


class _AtOnce(StepListener):
    """Has a window's gradients summed before anybody else hears that it is done."""

    def __init__(self, averaging: AveragedGradients) -> None:
        self._averaging = averaging

    @override
    def after_window(self, index: int) -> None:
        self._averaging.after_window(index)
        self._averaging.finish()


def _device(inputs: Any) -> torch.device:
    return cast(Tensor, inputs if isinstance(inputs, Tensor) else inputs[0]).device
