"""What the blocks of a model cost, measured on real steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, optim

from locallearn.errors import InputError
from locallearn.local_model import LocalModel
from locallearn.methods import Backprop
from locallearn.objective import LocalObjective
from locallearn.simulation.step_clock import Key, StepClock, median_step
from locallearn.simulation.workload import BlockCost, Workload


def measured(
    model: LocalModel, inputs: Any, targets: Any, *, optimizer: optim.Optimizer | None = None, repeats: int = 5
) -> Workload:
    """Take steps and note what each window costs; windows are the workload's blocks, since workers share none.

    Seconds are those of the `median_step`; an accelerator is waited for at every border, so that what it would hide
    behind launches counts. Steps of back-propagation through the same network take turns with them. Bytes are those
    that autograd saves in one step, each storage once. Images travel with the outputs where later objectives read them;
    side outputs and targets are left out. Autocast is the caller's. The model trains while it is measured.

    Args:
        model: The model, in training mode.
        inputs: As `LocalModel.local_backward` reads them; as many as a worker's batch has.
        targets: Likewise.
        optimizer: Over all of the model's parameters; its step is shared out by numbers of tensors. None: it is free.
        repeats: Steps that count, after one that does not.

    Returns:
        The workload.

    Raises:
        InputError: Windows overlap or are scored in groups, so that no worker could run them alone.
    """
    if any(one.stop != other.start for one, other in pairwise(model.windows)):
        raise InputError(
            f"{model.method} trains windows that overlap, which workers cannot share: simulate a method whose blocks "
            "learn alone."
        )
    if model.execution.group_heads:
        raise InputError("Heads that are scored in groups belong to no worker: leave execution.group_heads out.")
    plain = LocalModel(
        model.partition, Backprop(), model.task, normalization=model.normalization, execution=model.execution
    )
    local, whole = StepClock(model), StepClock(plain)
    counted = _SavedBytes(local, model)
    with torch.autograd.graph.saved_tensors_hooks(counted.note, lambda tensor: tensor):
        local.step(inputs, targets, optimizer)
    turns = [(local.step(inputs, targets, optimizer), whole.step(inputs, targets)) for _ in range(repeats + 1)]
    seconds = median_step(turn[0] for turn in turns[1:])
    end_to_end = median_step(turn[1] for turn in turns[1:])["backward", 0]
    entered, _ = model.task.enter(model.network, inputs, targets)
    blocks = [_cost(model, index, seconds, counted.bytes, entered) for index in range(len(model.windows))]
    backward = sum(seconds["backward", index] for index in range(len(model.windows)))
    return Workload(tuple(blocks), len(inputs), end_to_end_backward=end_to_end / backward if backward else 1.0)


class _SavedBytes:
    """Sizes of what autograd saves, by what is going on in a step, blocks joined to windows; parameters apart."""

    def __init__(self, clock: StepClock, model: LocalModel) -> None:
        self._clock = clock
        self._window_of = [
            index for index, window in enumerate(model.windows) for _ in range(window.start, window.stop)
        ]
        self._known = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self._sizes: dict[Key, dict[int, int]] = defaultdict(dict)

    def note(self, tensor: Tensor) -> Tensor:
        """A hook for what is saved."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            kind, index = self._clock.now
            key = (kind, self._window_of[index] if kind == "forward" else index)
            self._sizes[key].setdefault(storage._cdata, storage.nbytes())
        return tensor

    @property
    def bytes(self) -> dict[Key, int]:
        """The sums; a storage that a block saved already does not count again in its objective."""
        of_block = {index: sizes for (kind, index), sizes in self._sizes.items() if kind == "forward"}
        return defaultdict(int) | {
            (kind, index): sum(
                size for key, size in sizes.items() if kind == "forward" or key not in of_block.get(index, {})
            )
            for (kind, index), sizes in self._sizes.items()
        }


def _cost(
    model: LocalModel, index: int, seconds: Mapping[Key, float], kept: Mapping[Key, int], entered: Tensor
) -> BlockCost:
    window, device = model.windows[index], entered.device.type
    own, every = model.window_parameters(index), sum(1 for _ in model.parameters())
    objective, *behind = cast("list[LocalObjective]", list(model.objectives)[index:])
    auxiliary = list(objective.parameters())
    shape = model.partition.infos[window.stop - 1].out_shape
    autocast = torch.is_autocast_enabled(device)
    itemsize = torch.get_autocast_dtype(device).itemsize if autocast else entered.element_size()
    sources = {follow.source for follow in objective.follows()}
    named = {**dict(model.network.named_parameters()), **dict(model.network.named_buffers())}
    return BlockCost(
        forward=sum(seconds["forward", block] for block in range(window.start, window.stop)),
        backward=seconds["backward", index],
        auxiliary=seconds["auxiliary", index],
        output_bytes=torch.Size((len(entered), *shape)).numel() * itemsize
        + (entered.nbytes if any(each.reads_inputs for each in behind) else 0),
        kept_bytes=kept["forward", index],
        parameter_bytes=_size(own) - _size(auxiliary),
        update=seconds["update", 0] * len(own) / every,
        auxiliary_kept_bytes=kept["auxiliary", index],
        auxiliary_parameter_bytes=_size(auxiliary),
        followed_bytes=_size(named[name] for name in sources),
    )


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
