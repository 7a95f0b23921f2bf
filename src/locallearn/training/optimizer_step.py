"""One optimizer step: backward passes of one or more batches, clipping, the step, and what follows it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim

from locallearn.engine.captured_step import CapturedStep
from locallearn.engine.offload import Offload
from locallearn.engine.step_in_backward import StepInBackward
from locallearn.engine.step_listener import NOBODY, StepListener
from locallearn.errors import InputError
from locallearn.precision import precision_context
from locallearn.training.block_scaler import BlockScaler

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel
    from locallearn.objective import LocalOutput
    from locallearn.recipes.recipe import Recipe


class OptimizerStep:
    """Adds up the gradients of batches, then steps; or steps block by block within the only batch's backward pass.

    Where several batches make a step, each loss counts by its share of the step's images, so that the sum is the mean
    over all of them (exactly, for losses that are means over images and networks without batch statistics).

    Args:
        model: What is trained.
        optimizer: Over all of the model's parameters.
        recipe: Precision and clipping.
        device: Where the model is.
    """

    def __init__(self, model: LocalModel, optimizer: optim.Optimizer, recipe: Recipe, device: torch.device) -> None:
        self.model = model
        self.optimizer = optimizer
        self.recipe = recipe
        self.device = device
        self.scaler = self._scaler() if recipe.precision == "fp16" else None
        self.steps_in_backward = recipe.training.step_in_backward
        self.listener = self._listener()
        self.captured: CapturedStep | None = None

    def add(self, inputs: Any, targets: Any, share: float) -> list[LocalOutput]:
        """Add one batch's gradients.

        Args:
            inputs: (N, C, H, W), or a list of images.
            targets: As the task has them.
            share: N over the number of images in the step.

        Returns:
            Every window's output with logits; losses are unscaled.
        """
        with precision_context(self.recipe.precision, self.device):
            full = len(inputs) == self.recipe.training.batch_size
            if self.recipe.training.capture and (full or self.captured is not None):
                return self._captured(inputs, targets)(inputs, targets)
            return self.model.local_backward(
                inputs, targets, keep_logits=True, scales=self._scales(share), listener=self.listener
            )

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
        self.model.after_step()
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

    def _scales(self, share: float) -> list[float] | None:
        if self.scaler:
            return [scale * share for scale in self.scaler.scales]
        return None if share == 1 else [share] * len(self.model.windows)

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


def shares(images: int, batch_size: int, first: int, stop: int) -> list[float]:
    """What part of a step's images each of its batches has.

    Args:
        images: Images per epoch; the last batch has what is left.
        batch_size: Images in every other batch.
        first: The step's first batch.
        stop: One past the step's last batch.

    Returns:
        Numbers that sum to 1, one per batch.
    """
    sizes = [min(batch_size, images - batch * batch_size) for batch in range(first, stop)]
    return [size / sum(sizes) for size in sizes]
