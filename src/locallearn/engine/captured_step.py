"""A whole training step as one CUDA graph: nothing is launched from Python any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, optim

from locallearn.engine.step_in_backward import StepInBackward
from locallearn.engine.step_listener import NOBODY
from locallearn.errors import InputError, listed

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel
    from locallearn.objective import LocalOutput

WARM_UP = 3


class CapturedStep:
    """Forward and backward passes, the optimizer's step, averages and the freeing of gradients, replayed as a graph.

    The first three batches of the examples' shape are ordinary steps, which leave the optimizer with its state and the
    kernels chosen; the fourth is captured, and from then on steps are replayed. Batches of another shape, such as the
    last of an epoch, are ordinary steps on the same state. Learning rates may be changed between steps; everything
    else that Python decides (other settings of the optimizer, frozen layers, training mode) stays as it was captured.

    Args:
        model: On CUDA; `after_step` is called for it.
        optimizer: Over the model's parameters; SGD or AdamW with `fused=True`. `step_in_backward` steps it by block.
        example_inputs: Their shape, type and device are those of all batches to replay.
        example_targets: The same.
        step_in_backward: Steps blocks as soon as their gradients are there; its optimizer is `optimizer`.
        keep_logits: Whether the outputs hold what the local heads predict.

    Raises:
        InputError: The device is none of CUDA, or the optimizer needs the host within its step.

    Example:
        >>> import torch
        >>> if torch.cuda.is_available():
        ...     step = CapturedStep(model, optimizer, inputs, targets)  # doctest: +SKIP
        ...     outputs = step(inputs, targets)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: LocalModel,
        optimizer: optim.Optimizer,
        example_inputs: Tensor,
        example_targets: Tensor,
        *,
        step_in_backward: StepInBackward | None = None,
        keep_logits: bool = False,
    ) -> None:
        if not isinstance(example_inputs, Tensor) or not isinstance(example_targets, Tensor):
            raise InputError(
                "A captured step replays batches of one size, and lists of images, as detectors take them, differ: go "
                "without CapturedStep (training.capture)."
            )
        _check(model, optimizer, example_inputs, step_in_backward)
        self.model = model
        self.optimizer = optimizer
        self.step_in_backward = step_in_backward
        self.keep_logits = keep_logits
        self._inputs, self._targets = torch.empty_like(example_inputs), torch.empty_like(example_targets)
        self._rates = [torch.zeros((), device=example_inputs.device) for _ in optimizer.param_groups]
        self._known: list[float] = []
        self._stream = torch.cuda.Stream(example_inputs.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: list[LocalOutput] = []
        self._state = optimizer.state
        self._warm = 0

    def __call__(self, inputs: Tensor, targets: Tensor) -> list[LocalOutput]:
        """Train on one batch.

        Args:
            inputs: `(N, ...)`.
            targets: What the network should say.

        Returns:
            One output for each window; those of a replayed step are written over by the next.
        """
        if _form(inputs) != _form(self._inputs) or _form(targets) != _form(self._targets):
            return self._step(inputs, targets)
        if self.optimizer.state is not self._state:
            # Loading a state makes new tensors, which the graph does not know.
            self._state, self._graph, self._warm = self.optimizer.state, None, 0
        if self._warm < WARM_UP:
            self._warm += 1
            return self._beside(inputs, targets)
        self._inputs.copy_(inputs, non_blocking=True)
        self._targets.copy_(targets, non_blocking=True)
        self._set_rates()
        if self._graph is None:
            self._graph = self._captured()
        self._graph.replay()
        return self._outputs

    def _step(self, inputs: Tensor, targets: Tensor) -> list[LocalOutput]:
        listener = self.step_in_backward or NOBODY
        outputs = self.model.local_backward(inputs, targets, keep_logits=self.keep_logits, listener=listener)
        if self.step_in_backward is None:
            self.optimizer.step()
        self.model.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        return outputs

    def _beside(self, inputs: Tensor, targets: Tensor) -> list[LocalOutput]:
        """An ordinary step on a stream of its own, as capturing wants it."""
        working = torch.cuda.current_stream(inputs.device)
        self._stream.wait_stream(working)
        with torch.cuda.stream(self._stream):
            outputs = self._step(inputs, targets)
        working.wait_stream(self._stream)
        return outputs

    def _captured(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with self._tensor_rates(), torch.cuda.graph(graph, stream=self._stream):
            self._outputs = self._step(self._inputs, self._targets)
        return graph

    def _set_rates(self) -> None:
        given = [float(group["lr"]) for group in self.optimizer.param_groups]
        if given != self._known:
            for rate, value in zip(self._rates, given, strict=True):
                rate.fill_(value)
            self._known = given

    @contextmanager
    def _tensor_rates(self) -> Iterator[None]:
        """The groups hold rates that a graph reads anew, and floats again at the end."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        before = [{name: group[name] for name in ("lr", "capturable") if name in group} for group in groups]
        try:
            for group, rate in zip(groups, self._rates, strict=True):
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = True
            yield
        finally:
            for group, values in zip(groups, before, strict=True):
                group.update(values)


def _check(
    model: LocalModel, optimizer: optim.Optimizer, inputs: Tensor, step_in_backward: StepInBackward | None
) -> None:
    problems = []
    devices = {tensor.device.type for tensor in (inputs, *model.parameters())}
    if devices != {"cuda"}:
        problems.append(
            f"CUDA graphs need inputs and model on a CUDA device, and these are on {', '.join(sorted(devices))}: train "
            "with ordinary steps there. Idle blocks cannot be offloaded either."
        )
    if not all(group.get("fused") for group in optimizer.param_groups):
        problems.append("A captured step reads the learning rate on the device: give the optimizer fused=True.")
    if any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups):
        problems.append("The step makes tensors of the learning rates itself: give them to the optimizer as floats.")
    if step_in_backward is not None and step_in_backward.optimizer is not optimizer:
        problems.append("step_in_backward steps another optimizer: make it with the one that is given here.")
    if counted := [n for n, m in model.named_modules() if _reads_its_counter(m)]:
        problems.append(
            f"{counted[0]!r} has momentum=None and reads its counter of batches on the host: give it a number."
        )
    if problems:
        raise InputError(listed(problems))


def _reads_its_counter(module: torch.nn.Module) -> bool:
    return (
        isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        and module.momentum is None
        and (module.track_running_stats)
    )


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.device
