"""One optimizer step: backward passes of one or more batches, clipping, the step, and what follows it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim

from locallearn.datasets.batches import WHOLE, Part
from locallearn.engine.captured_step import CapturedStep
from locallearn.engine.offload import Offload
from locallearn.engine.step_in_backward import StepInBackward
from locallearn.engine.step_listener import NOBODY, StepListener
from locallearn.errors import InputError
from locallearn.precision import precision_context
from locallearn.training.block_scaler import BlockScaler

if TYPE_CHECKING:
    from locallearn.objective import LocalOutput
    from locallearn.parallel.block_parallel import BlockParallel
    from locallearn.parallel.whole_model import WholeModel
    from locallearn.recipes.recipe import Recipe

    Trainer = WholeModel | BlockParallel


class OptimizerStep:
    """Adds up the gradients of batches, then steps; or steps block by block within the only batch's backward pass.

    Where several batches make a step, each loss counts by its share of the step's images, so that the sum is the mean
    over all of them (exactly, for losses that are means over images and networks without batch statistics).

    Args:
        trainer: Computes gradients.
        optimizer: Over all of the model's parameters.
        recipe: Precision and clipping.
        device: Where the model is.
    """

    def __init__(self, trainer: Trainer, optimizer: optim.Optimizer, recipe: Recipe, device: torch.device) -> None:
        self.trainer = trainer
        self.model = trainer.model
        self.optimizer = optimizer
        self.recipe = recipe
        self.device = device
        self.scaler = self._scaler() if recipe.precision == "fp16" else None
        self.steps_in_backward = recipe.training.step_in_backward
        self.listener = self._listener()
        self.captured: CapturedStep | None = None

    def add(self, inputs: Any, targets: Any, share: float, *, last: bool = True) -> dict[int, LocalOutput]:
        """Add one batch's gradients.

        Args:
            inputs: (N, C, H, W), or a list of images; None where another process reads the batches.
            targets: As the task has them.
            share: N over the number of images in the step.
            last: Whether this is the step's last batch.

        Returns:
            By window, the outputs of those that end here, with logits; losses are unscaled.
        """
        with precision_context(self.recipe.precision, self.device):
            capture = self.recipe.training.capture
            if capture and (len(inputs) == self.recipe.training.batch_size or self.captured is not None):
                outputs = self._captured(inputs, targets)(inputs, targets)
            else:
                scales = self.scaler.scales if self.scaler else None
                options: dict[str, Any] = {"scales": scales, "keep_logits": True, "listener": self.listener}
                outputs = self.trainer.local_backward(inputs, targets, share=share, average=last, **options)
        return dict(zip(self.trainer.windows, outputs, strict=True))

    def finish(self) -> list[int]:
        """Clip, step, and let auxiliary networks follow.

        Returns:
            Windows whose part of the step was skipped because fp16 overflowed.
        """
        if self.captured is not None:
            return []
        skipped = self.scaler.unscale() if self.scaler else []
        if not self.steps_in_backward:
            self._step()
        self.trainer.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        return skipped

    def resident(self) -> AbstractContextManager[None]:
        """All of the model on the device, for evaluation.

        Returns:
            A context manager; nothing happens where idle blocks are not offloaded.
        """
        return self.listener.resident() if isinstance(self.listener, Offload) else nullcontext()

    def _captured(self, inputs: Tensor, targets: Tensor) -> CapturedStep:
        if self.captured is None:
            stepping = self.listener if isinstance(self.listener, StepInBackward) else None
            self.captured = CapturedStep(
                self.model, self.optimizer, inputs, targets, step_in_backward=stepping, keep_logits=True
            )
        return self.captured

    def _listener(self) -> StepListener:
        training = self.recipe.training
        if not training.step_in_backward:
            return NOBODY
        stepping = StepInBackward(self.model, self.optimizer, clip_value=training.clip_value)
        if not training.offload:
            return stepping
        check_offload(self.device)
        return Offload(stepping)

    def _step(self) -> None:
        training = self.recipe.training
        if training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        if training.clip_value is not None:
            nn.utils.clip_grad_value_(self.model.parameters(), training.clip_value)
        self.optimizer.step()

    def _scaler(self) -> BlockScaler:
        windows = self.model.windows
        return BlockScaler(windows, [self.model.window_parameters(index) for index in range(len(windows))])


def check_offload(device: torch.device) -> None:
    """Refuse to offload where there is nothing to gain.

    Args:
        device: Where the model is.

    Raises:
        InputError: It is in the host's own memory.
    """
    if device.type == "cpu":
        raise InputError(
            "training.offload keeps idle blocks in the processor's memory, and on device cpu everything is there "
            "already: leave it off, or train on an accelerator."
        )


def shares(images: int, batch_size: int, first: int, stop: int, part: Part = WHOLE) -> list[float]:
    """What part of a step's images each of its batches has here.

    Args:
        images: Images per epoch; the last batch has what is left.
        batch_size: Images in every other batch.
        first: The step's first batch.
        stop: One past the step's last batch.
        part: Which rows of each batch are here.

    Returns:
        A number for each batch; over all processes they sum to 1.
    """
    sizes = [min(batch_size, images - batch * batch_size) for batch in range(first, stop)]
    return [part.size(size) / sum(sizes) for size in sizes]
