"""The optimizer's step inside the backward pass: gradients of one block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from torch import nn, optim
from typing_extensions import override

from locallearn.engine.step_listener import StepListener
from locallearn.errors import InputError, listed

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel
    from locallearn.objective import LocalObjective


class StepInBackward(StepListener):
    """Steps an ordinary optimizer block by block, as soon as gradients are complete, and frees these gradients.

    Parameters, their bits and the optimizer's `state_dict()` are those of the ordinary loop; rates are set and
    schedulers made on the optimizer as ever. What couples blocks cannot be had: clipping by the norm of all gradients,
    adding up several batches, one loss scale for all. Where windows overlap, a block is stepped after its last.

    Args:
        model: What is trained.
        optimizer: Over all of the model's parameters that learn, in any groups; each parameter's update must depend on
            its own gradient and state alone, as in SGD and AdamW.
        clip_value: Largest absolute value of a gradient; none are clipped if None.

    Raises:
        InputError: The optimizer lacks parameters, has others, or couples them; or copies average parameters before
            the step which by then have been stepped.

    Example:
        >>> import locallearn as ll, torch
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> blocks = ll.partition(network, torch.zeros(2, 4), num_blocks=2)
        >>> model = ll.LocalModel(blocks, ll.DGL(), ll.Classification(2))
        >>> stepping = StepInBackward(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        >>> outputs = model.local_backward(torch.randn(8, 4), torch.randint(2, (8,)), listener=stepping)
        >>> model.after_step()
    """

    def __init__(self, model: LocalModel, optimizer: optim.Optimizer, *, clip_value: float | None = None) -> None:
        self.model = model
        self.optimizer = optimizer
        self.clip_value = clip_value
        self.settled = model.settled_parameters()
        trained = [parameter for parameters in self.settled for parameter in parameters]
        if problems := optimizer_problems(model, optimizer, trained):
            raise InputError(listed(problems))
        _check_averages(model, self.settled)
        self._shares = [_shares(optimizer, parameters) for parameters in self.settled]
        self._unfinished = False

    @override
    def before_block(self, index: int) -> None:
        if index == 0:
            self._begin()

    @override
    def after_window(self, index: int) -> None:
        ready = [parameter for parameter in self.settled[index] if parameter.grad is not None]
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(ready, self.clip_value)
        _part(self.optimizer, self._shares[index]).step()
        for parameter in ready:
            parameter.grad = None
        if index == len(self.settled) - 1:
            self._unfinished = False
            # Schedulers look for this mark of a step and warn where it is missing.
            self.optimizer._opt_called = True  # pyright: ignore[reportAttributeAccessIssue]

    def _begin(self) -> None:
        # A step that an exception cut short leaves gradients that nobody can complete.
        trained = [parameter for settled in self.settled for parameter in settled if parameter.grad is not None]
        if trained and not self._unfinished:
            raise InputError(
                "Gradients of an earlier batch are there, and a step inside the backward pass cannot add up several "
                "batches. Call optimizer.zero_grad(), or train without StepInBackward."
            )
        for parameter in trained:
            parameter.grad = None
        self._unfinished = True


def _shares(optimizer: optim.Optimizer, parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Those of some parameters that are in each of the optimizer's groups."""
    chosen = set(parameters)
    return [[parameter for parameter in group["params"] if parameter in chosen] for group in optimizer.param_groups]


def _part(optimizer: optim.Optimizer, shares: Sequence[list[nn.Parameter]]) -> optim.Optimizer:
    """The same optimizer, of the same state, over some of its parameters."""
    if len(shares) != len(optimizer.param_groups):
        raise InputError("The optimizer's groups have changed: make StepInBackward again after add_param_group.")
    part = object.__new__(type(optimizer))
    part.__dict__.update(optimizer.__dict__)
    # Schedulers wrap the whole optimizer's own method.
    part.__dict__.pop("step", None)
    groups = zip(optimizer.param_groups, shares, strict=True)
    part.param_groups = [{**group, "params": share} for group, share in groups if share]
    return part


def optimizer_problems(model: LocalModel, optimizer: optim.Optimizer, parameters: Iterable[nn.Parameter]) -> list[str]:
    """Why an optimizer cannot train a model's parameters block by block.

    Args:
        model: What is trained.
        optimizer: Over all of the model's parameters that learn.
        parameters: Those that are stepped.

    Returns:
        A sentence for each reason.
    """
    problems = []
    if isinstance(optimizer, optim.LBFGS):
        problems.append("LBFGS couples all parameters and cannot step block by block: take SGD or AdamW.")
    given = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    trained = {parameter for parameter in parameters if parameter.requires_grad}
    missing = [name for name, parameter in model.named_parameters() if parameter in trained - given]
    if missing:
        problems.append(
            f"The optimizer lacks {len(missing)} parameters that the model trains, such as {missing[0]!r}: make it "
            "over model.parameters()."
        )
    if strangers := len(given - set(model.parameters())):
        problems.append(
            f"The optimizer has {strangers} parameters that are not the model's and would never be stepped: give them "
            "an optimizer of their own."
        )
    return problems


def _check_averages(model: LocalModel, settled: Sequence[Sequence[nn.Parameter]]) -> None:
    stepped: set[nn.Parameter] = set()
    named = dict(model.network.named_parameters(remove_duplicate=False))
    for index, objective in enumerate(model.objectives):
        follows = cast("LocalObjective", objective).follows()
        early = [follow.source for follow in follows if follow.before_step]
        if late := [name for name in early if named.get(name) in stepped]:
            raise InputError(
                f"The objective of window {index} averages {late[0]!r} as it was before the step, but the parameter "
                "is stepped after an earlier window. Average after the step, or train without StepInBackward."
            )
        stepped.update(settled[index])
