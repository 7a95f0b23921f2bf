"""Whole training steps of plain PyTorch and of local learning, as planning and benchmarks run them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import islice
from typing import Any, Literal

from torch import Tensor, nn, optim
from typing_extensions import override

from locallearn.engine.step_in_backward import StepInBackward
from locallearn.engine.step_listener import NOBODY, Several, StepListener
from locallearn.local_model import LocalModel
from locallearn.planning.bytes_alive import held_by
from locallearn.precision import precision_context

Loss = Callable[[Any, Tensor], Tensor]


class Step(ABC):
    """One training step: forward and backward passes, the optimizer's update, gradients set to None.

    Args:
        module: What is trained; on its device and in its layout.
        optimizer: `"sgd"` with Nesterov momentum or `"adamw"`, both fused.
        precision: Arithmetic of the forward passes.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.module = module
        self.precision = precision
        self.optimizer: optim.Optimizer
        if optimizer == "sgd":
            self.optimizer = optim.SGD(
                module.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
            )
        else:
            self.optimizer = optim.AdamW(module.parameters(), lr=1e-3, fused=True)

    def __call__(self, inputs: Tensor, targets: Tensor) -> None:
        """Train on one batch.

        Args:
            inputs: `(N, ...)`.
            targets: As the task has them, `(N,)` classes for classification.
        """
        self.backward(inputs, targets)
        self.update()

    def update(self) -> None:
        """Step the optimizer and let go of the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @abstractmethod
    def backward(self, inputs: Tensor, targets: Tensor) -> None:
        """Fill the gradients.

        Args:
            inputs: `(N, ...)`.
            targets: As the task has them.
        """

    def held(self) -> list[Tensor]:
        """What stays alive between steps.

        Returns:
            Parameters, buffers, gradients and the optimizer's state.
        """
        return held_by(self.module, self.optimizer)


class PlainStep(Step):
    """Back-propagation by plain PyTorch, without anything of this package.

    Args:
        network: What is trained.
        loss: From the network's output and the targets to a scalar.
        micro_batches: Parts that the batch is cut into, whose gradients are added up.
        most: Leave out all parts after so many, where only memory is of interest.
        **settings: See `Step`.
    """

    def __init__(
        self, network: nn.Module, loss: Loss, *, micro_batches: int = 1, most: int | None = None, **settings: Any
    ) -> None:
        super().__init__(network, **settings)
        self.loss = loss
        self.micro_batches = micro_batches
        self.most = most

    @override
    def backward(self, inputs: Tensor, targets: Tensor) -> None:
        parts = zip(inputs.chunk(self.micro_batches), targets.chunk(self.micro_batches), strict=True)
        for images, labels in islice(parts, self.most):
            with precision_context(self.precision, inputs.device):
                loss = self.loss(self.module(images), labels) * (len(images) / len(inputs))
            del images
            loss.backward()


class LocalStep(Step):
    """Local learning.

    Args:
        model: What is trained.
        listener: Told how far each step has come.
        step_in_backward: Whether the optimizer steps block by block, see `StepInBackward`.
        **settings: See `Step`.
    """

    def __init__(
        self, model: LocalModel, *, listener: StepListener = NOBODY, step_in_backward: bool = False, **settings: Any
    ) -> None:
        super().__init__(model, **settings)
        self.model = model
        self.listener = listener
        self.stepping = StepInBackward(model, self.optimizer) if step_in_backward else None

    @override
    def backward(self, inputs: Tensor, targets: Tensor) -> None:
        listener = self.listener if self.stepping is None else Several(self.listener, self.stepping)
        with precision_context(self.precision, inputs.device):
            self.model.local_backward(inputs, targets, listener=listener)

    @override
    def update(self) -> None:
        if self.stepping is None:
            super().update()
        self.model.after_step()
