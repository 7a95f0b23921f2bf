"""Parameters and optimizer state of idle blocks on the host, and on the device when their turn comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from typing_extensions import override

from locallearn.engine.host_copies import HostCopies
from locallearn.engine.step_in_backward import StepInBackward
from locallearn.engine.step_listener import StepListener
from locallearn.errors import InputError

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel
    from locallearn.objective import LocalObjective


class Offload(StepListener):
    """Keeps blocks, objectives and their optimizer state on the host, except while a step works on them.

    What comes next is copied while the device works on what is there; a block goes back once it is stepped. Between
    steps all parameters and states are on the host, where they can be read, saved and loaded; buffers stay on the
    device. Parameters remain the same objects. `resident` brings everything to the device for evaluation.

    Args:
        stepping: Steps the blocks; its model is on the device when this is made.
        device: The device, where the model is not there (any more).

    Raises:
        InputError: The model's tensors are not real ones, or its heads run together.

    Example:
        >>> import locallearn as ll, torch
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> blocks = ll.partition(network, torch.zeros(2, 4), num_blocks=2)
        >>> model = ll.LocalModel(blocks, ll.DGL(), ll.Classification(2))
        >>> stepping = ll.StepInBackward(model, torch.optim.AdamW(model.parameters()))
        >>> offload = Offload(stepping)
        >>> outputs = model.local_backward(torch.randn(8, 4), torch.randint(2, (8,)), listener=offload)
        >>> model.after_step()
        >>> with offload.resident():
        ...     predictions = model(torch.randn(8, 4))
    """

    def __init__(self, stepping: StepInBackward, *, device: torch.device | None = None) -> None:
        model = stepping.model
        parameters = list(model.parameters())
        if any(isinstance(parameter, FakeTensor) for parameter in parameters):
            raise InputError("Fake tensors are nowhere and cannot be moved: offload a model of real ones.")
        if model.execution.group_heads:
            raise InputError(
                "group_heads=True runs the heads of many blocks together, which must then all be on the device: leave "
                "it off, or do not offload."
            )
        self.stepping = stepping
        self._copies = HostCopies(device or parameters[0].device)
        self._groups = {p: group for group in stepping.optimizer.param_groups for p in group["params"]}
        self._stages = _stages(model)
        self._order = list(self._stages)
        self._early = _averages_early(model)
        self._buffers: dict[nn.Parameter, dict[str, Tensor]] = {}
        self._present = set(parameters)
        self._evict(parameters)
        self._copies.wait()

    @contextmanager
    def resident(self) -> Iterator[None]:
        """Everything on the device, for evaluation or anything else outside of a step.

        Yields:
            None: While it is there.
        """
        missing = [p for p in self.stepping.model.parameters() if p not in self._present]
        self._fetch(missing)
        self._copies.arrived()
        try:
            yield
        finally:
            self._evict(missing)
            self._copies.wait()

    @override
    def before_block(self, index: int) -> None:
        self.stepping.before_block(index)
        if index == 0:
            # What a step left behind that an exception cut short.
            self._evict(list(self._present))
            self._copies.wait()
        self._enter(("block", index), ahead=True)

    @override
    def before_objective(self, index: int) -> None:
        self.stepping.before_objective(index)
        # Averages read later blocks once the objective is done, and would not wait for what is on its way.
        self._enter(("objective", index), ahead=not self._early)

    @override
    def after_window(self, index: int) -> None:
        self.stepping.after_window(index)
        self._evict(self.stepping.settled[index])
        if index == len(self.stepping.settled) - 1:
            self._evict(list(self._present))
            self._copies.wait()

    def _enter(self, stage: tuple[str, int], *, ahead: bool) -> None:
        self._fetch(self._stages[stage])
        self._copies.arrived()
        following = self._order.index(stage) + 1
        if ahead and following < len(self._order):
            self._fetch(self._stages[self._order[following]])

    def _fetch(self, parameters: Iterable[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter in self._present:
                continue
            hosted = self._moving(parameter)
            self._buffers[parameter] = hosted
            self._place(parameter, hosted, self._copies.to_device(list(hosted.values())))
            self._present.add(parameter)

    def _evict(self, parameters: Iterable[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter not in self._present:
                continue
            there = self._moving(parameter)
            known = self._buffers.pop(parameter, {})
            self._place(parameter, there, self._copies.to_host(list(there.values()), [known.get(n) for n in there]))
            self._present.discard(parameter)

    def _moving(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's tensor and those of its state that are used on the device, by name."""
        state = self.stepping.optimizer.state.get(parameter, {})
        group = self._groups.get(parameter, {})
        counts_here = bool(group.get("fused") or group.get("capturable"))
        return {"": parameter.detach()} | {
            name: value
            for name, value in state.items()
            if isinstance(value, Tensor) and (name != "step" or counts_here)
        }

    def _place(self, parameter: nn.Parameter, names: Iterable[str], tensors: Sequence[Tensor]) -> None:
        values = dict(zip(names, tensors, strict=True))
        own = values.pop("")
        # The way in which `Module.to` moves parameters without making new ones.
        nn.ParameterList([parameter])._apply(lambda tensor: own if tensor is parameter else tensor)
        self.stepping.optimizer.state.get(parameter, cast("dict[str, Any]", {})).update(values)


def _stages(model: LocalModel) -> dict[tuple[str, int], list[nn.Parameter]]:
    """What a step needs, in the order in which it does."""
    stages: dict[tuple[str, int], list[nn.Parameter]] = {}
    for block in range(len(model.partition.blocks)):
        stages["block", block] = model.block_parameters(block)
        for index, window in enumerate(model.windows):
            if window.stop == block + 1:
                stages["objective", index] = list(model.objectives[index].parameters())
    return stages


def _averages_early(model: LocalModel) -> bool:
    follows = (follow for o in model.objectives for follow in cast("LocalObjective", o).follows())
    return any(follow.before_step for follow in follows)
