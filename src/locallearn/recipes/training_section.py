"""A recipe's optimizer, learning rates and length."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from locallearn.errors import listed
from locallearn.recipes.section import Count, Fraction, NotNegative, Positive, Section, Whole


class ScheduleSection(Section):
    """How the learning rate moves; epochs count e = 1..E and the rate is constant within one, except for `poly`.

    Formulas:
        warmup_cosine: c(e) = lr/2 (1 + cos(pi e/E)); for e <= W: c(e)(e-1)/W + start (W+1-e)/W, with W warm-up epochs.
        cosine: lr/2 (1 + cos(pi (e-1)/E)). step: lr gamma^(number of milestones <= e).
        poly, per step t of T: (lr - 1e-4)(1 - t/T)^power + 1e-4. constant: lr.
    """

    name: Literal["warmup_cosine", "cosine", "step", "poly", "constant"] = "warmup_cosine"
    """The rule; `warmup_cosine` is the released code's and reaches 0 in the last epoch after the warm-up."""
    warmup_epochs: Count = 10
    """Epochs of `warmup_cosine` that blend in from `warmup_start`."""
    warmup_start: NotNegative = 0.01
    """The first epoch's rate under `warmup_cosine`; it does not scale with lr."""
    milestones: Annotated[tuple[Whole, ...], Field(strict=False)] = ()
    """Epochs from which on `step` multiplies the rate by gamma."""
    gamma: Positive = 0.1
    """Factor of `step`."""
    power: Positive = 0.9
    """Exponent of `poly`."""

    @model_validator(mode="after")
    def _milestones(self) -> Self:
        if self.name == "step" and not self.milestones:
            raise ValueError('name = "step" needs milestones, such as milestones = [80, 120].')
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must rise.")
        return self


class TrainingSection(Section):
    """Optimizer, learning rates, length of the run and what is kept of it."""

    epochs: Whole
    """Passes over the training images."""
    max_steps: Whole | None = None
    """Optimizer steps after which the run ends, should its epochs have more; `poly` ends there, too."""
    batch_size: Whole = 128
    """Images per batch; the last batch of an epoch may be smaller."""
    drop_last: bool = False
    """Leave out an epoch's last batch where it is smaller than the others."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """The one optimizer of network and auxiliary networks."""
    lr: Positive
    """Learning rate of the blocks before the schedule."""
    momentum: Fraction = 0.9
    """Momentum of `sgd`."""
    nesterov: bool = True
    """Nesterov's form of momentum (`sgd`)."""
    weight_decay: NotNegative = 1e-4
    """Weight decay of every parameter."""
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.999)
    """Decay rates of `adamw`."""
    auxiliary_lr: Positive | None = None
    """Learning rate of auxiliary networks; none means lr."""
    cascade_lr: Positive | None = None
    """Learning rate of cascade windows' auxiliary networks; none means lr."""
    schedule: ScheduleSection = ScheduleSection()
    """How the learning rates move."""
    accumulate: Whole = 1
    """Batches whose gradients are averaged into one step."""
    clip_norm: Positive | None = None
    """Largest norm of all gradients together; it couples the blocks."""
    clip_value: Positive | None = None
    """Largest absolute value of a gradient."""
    step_in_backward: bool = False
    """Step block by block within the backward pass, so that gradients of one block are alive at a time."""
    offload: bool = False
    """Keep parameters and optimizer state of idle blocks in the host's memory; needs `step_in_backward`."""
    capture: bool = False
    """Replay whole steps as a CUDA graph; batches must keep their size, except the last of an epoch."""
    checkpoint_every_steps: Whole | None = None
    """Steps between checkpoints within an epoch; none saves at the end of each epoch only."""
    keep_checkpoints: Whole = 2
    """Newest checkpoints that stay on disk."""
    evaluate_every: Whole = 1
    """Epochs between evaluations; the last epoch is always evaluated."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems = []
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            problems.append("nesterov needs momentum above 0: set nesterov = false.")
        if self.schedule.name == "warmup_cosine" and self.epochs == 1 and self.schedule.warmup_epochs == 0:
            problems.append(
                "warmup_cosine is 0 in the last epoch, so a run of one epoch would not learn: "
                'set schedule.name = "cosine"'
            )
        if self.clip_norm is not None and self.clip_value is not None:
            problems.append("clip_norm and clip_value exclude each other: keep one.")
        if self.step_in_backward and self.accumulate > 1:
            problems.append("step_in_backward steps after every batch: set accumulate = 1 or step_in_backward = false.")
        if self.step_in_backward and self.clip_norm is not None:
            problems.append(
                "clip_norm needs all gradients at once, which step_in_backward never has: use clip_value instead, or "
                "set step_in_backward = false."
            )
        if self.offload and not self.step_in_backward:
            problems.append("offload sends blocks away once they are stepped: set step_in_backward = true with it.")
        if self.capture and (self.offload or self.accumulate > 1 or self.clip_norm is not None):
            problems.append("capture replays a step of one batch: leave offload, accumulate and clip_norm out.")
        if self.capture and self.clip_value is not None and not self.step_in_backward:
            problems.append("capture clips by value only with step_in_backward = true.")
        if problems:
            raise ValueError(listed(problems))
        return self
