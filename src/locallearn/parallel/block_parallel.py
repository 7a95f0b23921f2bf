"""Every process trains some of the blocks; batches pass from one to the next, and nothing comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor

from locallearn.compatibility import single_samples_explained
from locallearn.engine.local_step import LocalStep
from locallearn.engine.moving_averages import MovingAverages
from locallearn.engine.step_listener import NOBODY, Several, StepListener
from locallearn.errors import InputError, TrainingStopped, listed
from locallearn.local_model import LocalModel
from locallearn.objective import LocalObjective, LocalOutput
from locallearn.parallel.averaged_gradients import AveragedGradients
from locallearn.parallel.catch_up import CatchUp
from locallearn.parallel.channel import Message, Sender
from locallearn.parallel.data_parallel import averaged, check_begun, same_statistics, same_values
from locallearn.parallel.gathering import Gathering
from locallearn.parallel.groups import pipelines, replicas_of
from locallearn.parallel.layout import Layout
from locallearn.parallel.replaying_receiver import receiver
from locallearn.parallel.source_exchange import SourceExchange, routes
from locallearn.parallel.stages import (
    check_independent,
    check_untied,
    divided,
    divided_at,
    followed_names,
    named_tensors,
    owned_names,
    release,
)
from locallearn.parallel.watch import Watch
from locallearn.parallel.whole_model import shared_scales
from locallearn.partitioning.block import State, activation


class BlockParallel:
    """A model whose blocks are divided among processes, each with the parameters of its own blocks alone.

    The first process reads the batches. Each trains its blocks on a batch and sends the last one's output on, while it
    goes on with the next batch: no process waits for one behind it, and nothing goes back but parameters that copies
    follow (MAN, MLAAN). Every block sees every batch in order, with the weights that it has learned from those before:
    the result is that of one process, bit for bit, if copies are told of every step and nothing draws random numbers,
    as dropout does.

    `steps` counts optimizer steps; `targets` are those of the last batch; `stopped` says whether the process before
    this one said that no batches follow.

    Args:
        model: The same in every process; weights are taken from the first. What other processes train loses its
            values, so make the optimizer afterwards.
        layout: How processes share blocks and batches; None divides the blocks among all.
        times: Of each block with its objectives, in any unit, to balance by; each block counts 1 if None.
        speeds: How fast each stage's device is; all alike if None.
        borders: Where to divide the blocks instead, as the first block of every stage but the first.
        crossing: What to do about windows whose blocks are in several processes: `"refuse"` them, or `"send_back"`
            their gradients, so that a process waits for those behind it in every step.
        exchange_every: Steps after which copies are told of the parameters they follow; in between they follow what
            they heard last. 1 is exact.
        queue: Batches that may be under way between two processes, and as many again that wait for their use.
        replay: Batches that a process keeps of those it got, to learn from them again where no newer one has come;
            nobody waits for anybody then (DGL's asynchronous training), and the result depends on who is how fast.
            None keeps all in step.
        replay_uses: How often such a batch may be learned from; without end if None.
        transfer: Type in which activations travel; their own if None. Anything else changes the result.
        gather: See `DataParallel`.
        timeout: Seconds to wait for another process.
        watch: Explains who does not answer; one without signs of life if None.
        arrived: Called, in a thread of its own, with the bytes of each message that has come.

    Raises:
        InputError: torch.distributed was not begun, or the blocks cannot be divided so.

    Example:
        Run by ``torchrun --nproc-per-node 2 script.py``::

            torch.distributed.init_process_group()
            parallel = ll.BlockParallel(model)
            optimizer = torch.optim.SGD(parallel.model.parameters(), lr=0.1)
            for inputs, targets in batches:
                parallel.local_backward(inputs, targets)
                optimizer.step()
                optimizer.zero_grad()
                parallel.after_step()
            parallel.close()
    """

    def __init__(
        self,
        model: LocalModel,
        layout: Layout | None = None,
        *,
        times: Sequence[float] | None = None,
        speeds: Sequence[float] | None = None,
        borders: Sequence[int] | None = None,
        crossing: Literal["refuse", "send_back"] = "refuse",
        exchange_every: int = 1,
        queue: int = 2,
        replay: int | None = None,
        replay_uses: int | None = None,
        transfer: torch.dtype | None = None,
        gather: bool = False,
        timeout: float = 600,
        watch: Watch | None = None,
        arrived: Callable[[int], None] | None = None,
    ) -> None:
        check_begun()
        rank, world = dist.get_rank(), dist.get_world_size()
        self.model = model
        self.layout = layout or Layout(world, 1)
        self.watch = watch or Watch(None, rank, world, timeout)
        _check(self.layout, world, queue, exchange_every, borders)
        count = len(model.partition.blocks)
        cross = crossing == "send_back"
        if borders is None:
            self.stages = divided(model.windows, times or [1.0] * count, self.layout.blocks, cross=cross, speeds=speeds)
        else:
            self.stages = divided_at(borders, model.windows, count, cross=cross)
        check_untied(model, self.stages)
        if replay is not None:
            check_independent(model, self.stages)
        self.stage, replica = self.layout.stage(rank), self.layout.replica(rank)
        self.blocks = self.stages[self.stage]
        self.windows = tuple(i for i, w in enumerate(model.windows) if self.blocks.start < w.stop <= self.blocks.stop)
        self.steps = 0
        self.stopped = False
        self._told = False
        self.targets: Any = None
        same_values(model, None, self.watch)
        self.borders = tuple(blocks.start for blocks in self.stages[1:])
        model.cut_at(self.borders)
        self._segments = [s for s in model.segments if self.blocks.start <= s.start < self.blocks.stop]
        column = [self.layout.rank(stage, replica) for stage in range(self.layout.blocks)]
        forward, backward = pipelines(self.layout, replica, timedelta(seconds=self.watch.timeout))
        self._before = column[self.stage - 1] if self.stage else None
        self._behind = column[self.stage + 1] if self.stage + 1 < self.layout.blocks else None
        self._backward = backward
        self._sends_inputs = any(_objective(model, i).reads_inputs for i in self._windows_behind())
        device = next(model.parameters()).device
        depth: dict[str, Any] = {"depth": queue, "watch": self.watch}
        self._sender = None if self._behind is None else Sender(self._behind, forward, transfer=transfer, **depth)
        self._exchange = self._exchanged(column, exchange_every)
        self._receiver = None
        if self._before is not None:
            options: dict[str, Any] = {"device": device, "arrived": arrived} | depth
            self._receiver = receiver(self._before, forward, replay=replay, replay_uses=replay_uses, **options)
        self._replicas = replicas = replicas_of(self.layout, self.stage, timedelta(seconds=self.watch.timeout))
        self.averaging = AveragedGradients(model, replicas, self.watch) if replicas is not None else None
        self._gathering = Gathering(replicas, self.watch) if gather and replicas is not None else None
        model.gather = self._gathering

    @property
    def is_first(self) -> bool:
        """Whether this process reads the batches."""
        return self._receiver is None

    @property
    def is_last(self) -> bool:
        """Whether this process has the network's output."""
        return self._sender is None

    def local_backward(
        self,
        inputs: Tensor | None = None,
        targets: Tensor | None = None,
        *,
        share: float | None = None,
        average: bool = True,
        keep_logits: bool = False,
        scales: Sequence[float | Tensor] | None = None,
        listener: StepListener = NOBODY,
    ) -> list[LocalOutput]:
        """Train this process's blocks on the next batch: add their gradients to `.grad`; every process must call it.

        Args:
            inputs: `(N, ...)`, in the first process; others leave it out.
            targets: A tensor, likewise.
            share: See `DataParallel.local_backward`.
            average: See `DataParallel.local_backward`.
            keep_logits: Whether the outputs hold what the local heads predict.
            scales: A factor for each of the model's windows.
            listener: Told of this process's blocks, objectives and windows.

        Returns:
            One output for each of `windows`.

        Raises:
            InputError: See `LocalModel.local_backward`; or the first process was given no batch, or another one was.
            TrainingStopped: A process has ended, or does not answer in time.
        """
        model = self.model
        state, inputs, targets = self._entered(inputs, targets)
        self.targets = targets
        model.check_size(len(activation(state)))
        share = 1 / self.layout.replicas if share is None else share
        if self._gathering is not None:
            self._gathering.begin(len(activation(state)), activation(state).device)
        with self._averaged(average=average, at_once=listener is not NOBODY) as averaging:
            told = Several(self.watch, CatchUp(self._exchange, model.averages), *averaging, listener)
            scales = shared_scales(scales, share, len(model.windows))
            options: dict[str, Any] = {"scales": scales, "keep_logits": keep_logits, "listener": told}
            explained = single_samples_explained(len(activation(state)))
            with explained, model.stepping(model.batch(inputs, targets), **options) as step:
                state = step.run(state, self._segments, handed_on=lambda s: self._hand_on(s, inputs, targets))
                self._go_back(step, activation(state))
        return [step.outputs[index] for index in self.windows]

    def after_step(self) -> None:
        """Update the moving averages, and tell others of followed parameters; call after every `optimizer.step()`."""
        self.steps += 1
        self.model.after_step()
        self._exchange.after_step(self.steps)

    @torch.no_grad()
    def forward(self, inputs: Tensor | None = None, targets: Any = None) -> tuple[Any, Any] | None:
        """The network on one batch, through all processes; set the model's mode first.

        Args:
            inputs: In the first process.
            targets: Pass along, likewise.

        Returns:
            The network's output and the targets in the last process; None in the others.
        """
        if self._receiver is not None:
            state, _, targets = _batch_in(self._receiver.take())
        else:
            state = cast(Tensor, inputs)
        for index in self.blocks:
            state = self.model.partition.blocks[index](state)
        if self.is_last:
            return state, targets
        self._hand_on(state, None, targets, batch=False)
        return None

    def outputs(self, batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """What the network says to batches, through all processes; set the model's mode first.

        Args:
            batches: Pairs of inputs and targets; read by the first process alone.

        Yields:
            tuple: In the last process, the network's output and the targets of each batch.
        """
        if self._replicas is not None:
            same_statistics(self.model.network, self._replicas, self.watch)
        if self.is_first:
            for inputs, targets in batches:
                self.forward(inputs, targets)
        else:
            while self._more_outputs():
                found = self.forward()
                if found is not None:
                    yield found
        if self._sender is not None and not self.stopped:
            self._sender.send(Message(()))

    def _more_outputs(self) -> bool:
        assert self._receiver is not None
        message = self._receiver.peek()
        if message.last:
            self.stop()
            self.stopped = True
        elif not message.items:
            self._receiver.take()
        return not message.last and bool(message.items)

    def settle(self) -> None:
        """Wait until nothing is under way between processes, and copies are where one process would have them."""
        CatchUp(self._exchange, self.model.averages).catch_up()
        self._exchange.finish()
        if self._sender is not None:
            self._sender.finish()

    def stop(self) -> None:
        """Tell the processes behind this one that no batches follow."""
        if self._sender is not None and not self._told:
            self._told = True
            self._sender.send(Message((), last=True))

    def stops(self) -> bool:
        """Whether the process before this one said that no batches follow; waits until it sends a batch or that.

        Returns:
            True if so; False in the first process.
        """
        return self._receiver is not None and self._receiver.is_over()

    def close(self) -> None:
        """Wait until all has arrived; no batches can follow."""
        self.stop()
        self.settle()

    def heard(self) -> dict[str, Tensor]:
        """What copies here follow that is trained elsewhere, as they last heard of it.

        Returns:
            Values by name; written over by every exchange.
        """
        return self._heard

    def _entered(self, inputs: Tensor | None, targets: Tensor | None) -> tuple[State, Tensor | None, Any]:
        """The state before this process's blocks, and inputs and targets of the batch it belongs to."""
        if not self.is_first:
            if inputs is not None or targets is not None:
                raise InputError(
                    f"Batches are read by the first process alone, and this one, with blocks {self.blocks.start} to "
                    f"{self.blocks.stop - 1}, gets them from it: call local_backward() without a batch here."
                )
            assert self._receiver is not None
            return _batch_in(self._receiver.take_batch())
        if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
            raise InputError(
                "The first process needs inputs and targets as tensors; for detectors, which take lists, divide the "
                "batches alone (DataParallel, --parallel data=N)."
            )
        self.model.task.check_targets(targets, len(inputs))
        return inputs, inputs, targets

    def _hand_on(self, state: State, inputs: Tensor | None, targets: Any, *, batch: bool = True) -> None:
        if self._sender is not None:
            items = state if isinstance(state, tuple) else (state,)
            self._sender.send(Message((*items, targets, inputs if self._sends_inputs else None), batch=batch))

    def _go_back(self, step: LocalStep, output: Tensor) -> None:
        """Finish windows that end in later processes, and hand the rest of their gradients to the one before."""
        for index in self._crossing(self.blocks.stop):
            gradient = torch.empty(output.shape, dtype=output.dtype, device=output.device)
            self._transfer_back(dist.irecv(gradient, self._behind, group=self._backward))
            step.send_back(index, [gradient])
        for index in self._crossing(self.blocks.start):
            gradient = step.entry_gradients[index].contiguous()
            self._transfer_back(dist.isend(gradient, cast(int, self._before), group=self._backward))

    def _transfer_back(self, work: dist.Work | None) -> None:
        assert work is not None
        self.watch.wait(work, "gradients crossed from process to process")

    def _crossing(self, border: int) -> list[int]:
        return [index for index, window in enumerate(self.model.windows) if window.start < border < window.stop]

    def _windows_behind(self) -> list[int]:
        return [index for index, window in enumerate(self.model.windows) if window.stop > self.blocks.stop]

    @contextmanager
    def _averaged(self, *, average: bool, at_once: bool) -> Iterator[list[StepListener]]:
        if self.averaging is None:
            yield []
            return
        with averaged(self.averaging, average=average, at_once=at_once) as told:
            yield told

    def _exchanged(self, column: Sequence[int], every: int) -> SourceExchange:
        """Plan what is sent back, and let go of everything that other processes train."""
        model = self.model
        owned = [owned_names(model, blocks) for blocks in self.stages]
        sources = [followed_names(model, blocks) for blocks in self.stages]
        named = named_tensors(model.network)
        elsewhere = sorted(sources[self.stage] - owned[self.stage])
        self._heard = {name: named[name].detach().clone() for name in elsewhere}
        release(model, owned[self.stage], self.windows)
        objectives = {index: _objective(model, index) for index in self.windows}
        model.averages = MovingAverages(model.network, objectives, elsewhere=self._heard)
        own = {name: named[name] for name in owned[self.stage]}
        plan = routes(sources, owned, column)
        return SourceExchange(own, self._heard, plan, self._backward, every=every, watch=self.watch)


def _check(layout: Layout, world: int, queue: int, every: int, borders: Sequence[int] | None) -> None:
    problems = {
        f"The layout {layout} has {layout.blocks - 1} borders, and borders= names {len(borders or ())}.": (
            borders is not None and len(borders) != layout.blocks - 1
        ),
        f"The layout {layout} is for {layout.processes} processes, and there are {world}.": layout.processes != world,
        f"queue must be at least 1, not {queue}.": queue < 1,
        f"exchange_every must be at least 1, not {every}.": every < 1,
    }
    if found := [problem for problem, there in problems.items() if there]:
        raise InputError(listed(found))


def _objective(model: LocalModel, index: int) -> LocalObjective:
    return cast(LocalObjective, model.objectives[index])


def _batch_in(message: Message) -> tuple[State, Tensor | None, Any]:
    """State, inputs and targets."""
    if message.last:
        raise TrainingStopped("The process before this one sends no more batches: it was closed or stopped.")
    *state, targets, inputs = message.items
    return (state[0] if len(state) == 1 else tuple(state)), inputs, targets
