"""Trainings in several processes of one thread each, to time side by side."""

from __future__ import annotations

import multiprocessing
import queue
import statistics
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.pipelining import schedules as pipelining_schedules

import locallearn as ll
from locallearn.networks import build
from locallearn.planning.bytes_alive import BytesAlive, held_by
from locallearn.simulation.step_clock import block_seconds

CLASSES = 10
WARM_UP = 2
GIGABIT = 1.25e8
"""Bytes per second of a link of 1 Gb/s."""


@dataclass(frozen=True)
class Setting:
    """What all rows share.

    Args:
        network: By name.
        batch: Images per step.
        steps: Steps that are timed, after the warm-up.
        queue: Batches under way between two processes.
    """

    network: str = "resnet110"
    batch: int = 64
    steps: int = 8
    queue: int = 1


@dataclass(frozen=True)
class SlowLink:
    """What a transfer takes besides, on the way between two processes.

    Args:
        delay: Seconds of each message.
        bandwidth: Bytes per second; None if only the delay counts.
    """

    delay: float = 0.0
    bandwidth: float | None = None

    def __call__(self, size: int) -> None:
        """Let a message of so many bytes take its time."""
        time.sleep(self.delay + (size / self.bandwidth if self.bandwidth else 0.0))


FAST = SlowLink()
PATIENCE = 60


def local_model(setting: Setting) -> ll.LocalModel:
    """The network with one block per unit, for DGL."""
    torch.manual_seed(0)
    network = build(setting.network, CLASSES)
    example = torch.zeros(2, 3, 32, 32)
    units = len(ll.partition(network, example, num_blocks=1).units)
    model = ll.LocalModel(ll.partition(network, example, num_blocks=units), ll.DGL(), ll.Classification(CLASSES))
    return model.train()


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    """Random images and labels; arithmetic does not care."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def sgd(parameters: Any) -> torch.optim.SGD:
    """The optimizer of every row."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def timed(step: Callable[[], object], steps: int) -> list[float]:
    """Seconds between the ends of steps, the warm-up left out."""
    ends = []
    for _ in range(WARM_UP + steps + 1):
        step()
        ends.append(time.perf_counter())
    return [later - earlier for earlier, later in zip(ends[WARM_UP:], ends[WARM_UP + 1 :], strict=False)]


def alone(rank: int, setting: Setting) -> dict[str, Any]:
    """Train the whole network in this process."""
    model = local_model(setting)
    optimizer = sgd(model.parameters())
    inputs, targets = batch_of(setting.batch)

    def step() -> None:
        model.local_backward(inputs, targets)
        optimizer.step()
        optimizer.zero_grad()
        model.after_step()

    return {"seconds": timed(step, setting.steps), "bytes": counted(step, model, optimizer)}


def blocks_apart(rank: int, setting: Setting, link: SlowLink, count: bool) -> dict[str, Any]:
    """Train this process's blocks."""
    model = local_model(setting)
    times = [
        statistics.fmean(both)
        for both in zip(*_everybodys(block_seconds(model, batch_of(setting.batch)[0])), strict=True)
    ]
    parallel = ll.BlockParallel(model, times=times, queue=setting.queue, timeout=120, arrived=link)
    optimizer = sgd(model.parameters())
    batch = batch_of(setting.batch) if parallel.is_first else ()

    def step() -> None:
        parallel.local_backward(*batch)
        optimizer.step()
        optimizer.zero_grad()
        parallel.after_step()

    seconds = timed(step, setting.steps)
    found: dict[str, Any] = {"seconds": seconds, "blocks": [parallel.blocks.start, parallel.blocks.stop]}
    if count:
        # The receiving thread's tensors are not seen where they are made: as many batches as may wait are added.
        waiting = 0 if parallel.is_first else setting.queue * _entry_bytes(parallel, setting)
        found["bytes"] = counted(step, model, optimizer) + waiting
    parallel.close()
    return found


def pipelined(rank: int, setting: Setting, link: SlowLink, micro_batches: int, count: bool) -> dict[str, Any]:
    """Back-propagation through two halves of the network by torch.distributed.pipelining's 1F1B."""
    torch.manual_seed(0)
    network = build(setting.network, CLASSES)
    example = torch.zeros(2, 3, 32, 32)
    blocks = ll.partition(network, example, num_blocks=dist.get_world_size(), balance="flops").blocks
    stage_module = _Half(blocks[rank])
    micro = torch.zeros(setting.batch // micro_batches, 3, 32, 32)
    outputs = [micro]
    with torch.no_grad():
        for block in blocks:
            outputs.append(cast(Tensor, block(outputs[-1])))
    sides = {
        "input_args": outputs[rank].clone().requires_grad_(rank > 0),
        "output_args": outputs[rank + 1].clone().requires_grad_(),
    }
    stage = PipelineStage(stage_module, rank, len(blocks), torch.device("cpu"), **sides)
    last = rank == len(blocks) - 1
    schedule = Schedule1F1B(stage, micro_batches, loss_fn=nn.functional.cross_entropy)
    optimizer = sgd(stage_module.parameters())
    inputs, targets = batch_of(setting.batch)

    def step() -> None:
        schedule.step(*(() if rank else (inputs,)), **({"target": targets} if last else {}))
        optimizer.step()
        optimizer.zero_grad()

    with _slowed(link):
        found: dict[str, Any] = {"seconds": timed(step, setting.steps)}
        if count:
            found["bytes"] = counted(step, stage_module, optimizer)
    return found


def sleeping(rank: int, seconds: Sequence[float], steps: int) -> dict[str, Any]:
    """Blocks that compute next to nothing and take their time, so that processes need no cores."""
    parallel = ll.BlockParallel(sleepers(seconds), times=seconds, queue=1, timeout=120)
    batch = sleepers_batch() if parallel.is_first else ()

    def step() -> None:
        parallel.local_backward(*batch)
        parallel.after_step()
        parallel.model.zero_grad()

    found = {"seconds": timed(step, steps), "blocks": [parallel.blocks.start, parallel.blocks.stop]}
    parallel.close()
    return found


def sleepers(seconds: Sequence[float]) -> ll.LocalModel:
    """A chain of blocks that sleep: a third of their time forward, the rest backward."""
    chain: list[nn.Module] = [_Sleeper(each) for each in seconds]
    network = nn.Sequential(*chain, nn.Linear(8, CLASSES))
    cut = ll.partition(network, torch.zeros(2, 8), chain=[*network], num_blocks=len(seconds))
    return ll.LocalModel(cut, ll.DGL(head="linear"), ll.Classification(CLASSES)).train()


def sleepers_batch() -> tuple[Tensor, Tensor]:
    """What they read."""
    return torch.randn(4, 8), torch.randint(CLASSES, (4,))


def counted(step: Callable[[], object], module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bytes alive at the peak of a step in this thread."""
    held = [tensor for tensor in held_by(module, optimizer) if not tensor.is_meta]
    with BytesAlive(*held) as meter:
        step()
    return meter.peak


class _Half(nn.Module):
    """A block with the parameters it uses, as a stage wants them."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.used = nn.ParameterList(block.parameters_used())
        self._block = (block,)

    def forward(self, inputs: Tensor) -> Tensor:
        return self._block[0](inputs)


class _Sleep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, seconds: float) -> Tensor:
        ctx.seconds = seconds
        time.sleep(seconds / 3)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        time.sleep(ctx.seconds * 2 / 3)
        return gradients[0], None


class _Sleeper(nn.Linear):
    def __init__(self, seconds: float) -> None:
        super().__init__(8, 8)
        self.seconds = seconds

    def forward(self, input: Tensor) -> Tensor:
        return cast(Tensor, _Sleep.apply(super().forward(input), self.seconds))


class _Late:
    """A receipt that is complete some time after the message has come, while others go on."""

    def __init__(self, work: dist.Work, size: int, link: SlowLink) -> None:
        self._over = threading.Event()
        threading.Thread(target=self._wait, args=(work, size, link), daemon=True).start()

    def _wait(self, work: dist.Work, size: int, link: SlowLink) -> None:
        work.wait()
        with _LINE:  # messages follow each other on a line
            link(size)
        self._over.set()

    def wait(self) -> None:
        self._over.wait()


_LINE = threading.Lock()


@contextmanager
def _slowed(link: SlowLink) -> Iterator[None]:
    """Every receipt of torch's pipelining over a slow link; both directions have a line of their own per process."""
    if link == FAST:
        yield
        return
    begin = pipelining_schedules._batch_p2p

    def slowly(operations: list[dist.P2POp], desc: str | None = None) -> list[Any]:
        works = begin(operations, desc)
        return [
            _Late(work, operation.tensor.nbytes, link) if operation.op is dist.irecv else work
            for work, operation in zip(works, operations, strict=True)
        ]

    pipelining_schedules._batch_p2p = slowly
    try:
        yield
    finally:
        pipelining_schedules._batch_p2p = begin


def _everybodys(value: list[float]) -> list[list[float]]:
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def _entry_bytes(parallel: ll.BlockParallel, setting: Setting) -> int:
    shape = parallel.model.partition.infos[parallel.blocks.start - 1].out_shape
    return setting.batch * (4 * int(torch.Size(shape).numel()) + 8)


def together(count: int, work: Callable[..., dict[str, Any]], *args: Any) -> list[dict[str, Any]]:
    """What so many processes of one thread return that work at the same time.

    Args:
        count: How many.
        work: Given its rank and `args`.
        *args: Can be pickled.

    Returns:
        By rank.
    """
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        children = [
            context.Process(target=_child, args=(rank, count, str(Path(folder) / "store"), results, work, args))
            for rank in range(count)
        ]
        for child in children:
            child.start()
        found = dict(_taken(results) for _ in children)
        for child in children:
            child.join()
    return [found[rank] for rank in range(count)]


def _taken(results: Any) -> tuple[int, dict[str, Any]]:
    try:
        rank, value = results.get(timeout=900)
    except queue.Empty:
        raise SystemExit("a process of the benchmark hangs") from None
    if isinstance(value, str):
        raise SystemExit(value)
    return rank, value


def _child(rank: int, count: int, store: str, results: Any, work: Callable[..., dict[str, Any]], args: Any) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo", store=dist.FileStore(store, count), rank=rank, world_size=count, timeout=timedelta(seconds=PATIENCE)
        )
        results.put((rank, work(rank, *args)))
        dist.barrier()
    except Exception:
        results.put((rank, traceback.format_exc()))
