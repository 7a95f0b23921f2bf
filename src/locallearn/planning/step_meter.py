"""What a step holds, by kind and by part of the step, and what it computes: one run counts all of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from locallearn.planning.bytes_alive import BytesAlive

KINDS: tuple[str, ...] = ("parameters", "buffers", "optimizer state", "gradients", "batch", "activations")
"""What bytes belong to; `activations` are all the rest: what the backward pass needs, and temporaries."""

_PARAMETERS, _BUFFERS, _STATE, GRADIENTS, BATCH, ACTIVATIONS = KINDS
_UPDATES = {torch.ops.aten._fused_sgd_, torch.ops.aten._fused_adamw_, torch.ops.aten._fused_adam_}


@dataclass(frozen=True)
class Moment:
    """What is alive at one moment of a step.

    Args:
        operator: How many operators have run.
        part: The part of the step that is running, None outside all parts.
        held: Bytes by kind, in the order of `KINDS`.
    """

    operator: int
    part: int | None
    held: tuple[int, ...]

    @property
    def total(self) -> int:
        """All bytes alive."""
        return sum(self.held)


@dataclass(frozen=True)
class Measurement:
    """What one step holds and computes.

    Args:
        moments: Every moment at which something came to be, in order.
        flops: Floating-point operations of matrix products and convolutions, by part.
    """

    moments: tuple[Moment, ...]
    flops: Mapping[int | None, int]

    @property
    def peak(self) -> Moment:
        """The first moment with the most bytes."""
        return max(self.moments, key=lambda moment: moment.total)

    @property
    def total_flops(self) -> int:
        """Operations of the whole step."""
        return sum(self.flops.values())

    def peak_of(self, part: int) -> int:
        """The most bytes alive while a part runs.

        Args:
            part: Which part.

        Returns:
            Bytes; 0 for a part that made nothing.
        """
        return max((moment.total for moment in self.moments if moment.part == part), default=0)

    def thinned(self, count: int) -> tuple[Moment, ...]:
        """About so many moments, the highest of each stretch; the peak is among them.

        Args:
            count: How many stretches.

        Returns:
            Moments in order.
        """
        last = max(self.moments[-1].operator, 1)
        stretches = groupby(self.moments, key=lambda moment: (moment.operator * count // (last + 1), moment.part))
        return tuple(max(stretch, key=lambda moment: moment.total) for _, stretch in stretches)


class StepMeter(BytesAlive):
    """Bytes alive that know what they belong to, and operations.

    Attributes:
        part: Set by who knows which part of the step is running.
    """

    def __init__(self) -> None:
        super().__init__()
        self.part: int | None = None
        self._flops: dict[int | None, int] = defaultdict(int)
        self._operators = 0
        self._changes: list[tuple[int, int, int, int | None]] = []
        self._serials: dict[int, int] = {}
        self._kinds: list[str] = []

    def label(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """Say what tensors belong to, from their beginning.

        Args:
            kind: One of `KINDS`.
            tensors: Counted from now on if they were not yet.
        """
        for tensor in tensors:
            self._see(tensor)
            self._kinds[self._serials[tensor.untyped_storage()._cdata]] = kind

    @override
    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._operators += getattr(func, "namespace", "") != "prim"
        result = super().__torch_dispatch__(func, types, args, kwargs)
        count = flop_registry.get(getattr(func, "_overloadpacket", None))
        if count is not None:
            self._flops[self.part] += count(*args, **(kwargs or {}), out_val=result)
        return result

    @override
    def _see(self, tensor: Tensor) -> None:
        key = tensor.untyped_storage()._cdata
        is_new = key not in self._seen
        super()._see(tensor)
        if is_new:
            self._serials[key] = len(self._kinds)
            self._kinds.append(ACTIVATIONS)
            self._note(key, tensor.untyped_storage().nbytes())

    @override
    def _forget(self, key: int, size: int) -> None:
        super()._forget(key, size)
        self._note(key, -size)

    def _note(self, key: int, change: int) -> None:
        self._changes.append((self._serials[key], change, self._operators, self.part))

    def measurement(self) -> Measurement:
        """What was counted so far.

        Returns:
            All moments, each by kind.
        """
        places = {kind: place for place, kind in enumerate(KINDS)}
        held = [0] * len(KINDS)
        moments = []
        for serial, change, operator, part in self._changes:
            held[places[self._kinds[serial]]] += change
            if change > 0 and operator > 0:
                moments.append(Moment(operator, part, tuple(held)))
        return Measurement(tuple(moments), dict(self._flops))


class _UpdatesSkipped(TorchDispatchMode):
    """Fused updates of fake parameters do nothing: they allocate nothing, and PyTorch would run them on real zeros."""

    @override
    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        update = getattr(func, "_overloadpacket", None) in _UPDATES
        if update and any(isinstance(item, FakeTensor) for item in pytree.tree_leaves(args)):
            return None
        return func(*args, **(kwargs or {}))


def measure(step: Callable[[StepMeter], object], module: nn.Module, optimizer: optim.Optimizer) -> Measurement:
    """Count the second of two training steps on fake tensors; the first made the optimizer's state.

    The first step is not run: the optimizer takes a step on gradients of zeros instead. Should the counted step turn
    out to leave some parameter without gradient, it is counted again without state for that parameter.

    Args:
        step: One whole training step, from making the batch to gradients of None; may label tensors, and tell the meter
            which part is running.
        module: Owns all parameters and buffers, which are fake.
        optimizer: Over the module's parameters, before its first step.

    Returns:
        What the step holds and computes.
    """
    with _UpdatesSkipped():
        _make_state(optimizer)
        meter, reached = _run(step, module, optimizer)
        strangers = [parameter for parameter in optimizer.state if parameter not in reached]
        for parameter in strangers:
            del optimizer.state[parameter]
        if strangers:
            meter, _ = _run(step, module, optimizer)
    return meter.measurement()


def _make_state(optimizer: optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _run(
    step: Callable[[StepMeter], object], module: nn.Module, optimizer: optim.Optimizer
) -> tuple[StepMeter, set[Tensor]]:
    """Take a step under a meter; gives also the parameters that were given a gradient."""
    meter = StepMeter()
    meter.label(_PARAMETERS, module.parameters())
    meter.label(_BUFFERS, module.buffers())
    for values in optimizer.state.values():
        meter.label(_STATE, (value for value in values.values() if isinstance(value, Tensor)))
    reached: set[Tensor] = set()

    def note(parameter: Tensor) -> None:
        reached.add(parameter)
        if parameter.grad is not None:
            meter.label(GRADIENTS, [parameter.grad])

    with _hooked(module.parameters(), note), meter:
        step(meter)
    return meter, reached


@contextmanager
def _hooked(parameters: Iterable[Tensor], hook: Callable[[Tensor], None]) -> Iterator[None]:
    handles = [each.register_post_accumulate_grad_hook(hook) for each in parameters if each.requires_grad]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
