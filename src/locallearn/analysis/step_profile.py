"""What a training step of a run holds in its course, and how long each block takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from locallearn.analysis.trained_run import TrainedRun
from locallearn.planning.step_meter import KINDS, Moment
from locallearn.precision import precision_context
from locallearn.simulation.step_clock import block_seconds
from locallearn.training.assembly import SMALLER, build_model, without_weights
from locallearn.training.out_of_memory import memory_explained
from locallearn.training.step_cost import rehearsed_step

_STRETCHES = 400


@dataclass(frozen=True)
class StepMemory:
    """Bytes alive over one step of a run's recipe.

    Args:
        operators: How many operators the step runs.
        moments: About 400, in order, the highest of each stretch; the peak is among them.
        peak_bytes: The most bytes alive.
        at_peak: Bytes at the peak by what they belong to.
        ends: One past the last block of each part of the step; a part is what is trained by windows that end there.
        part_peaks: The most bytes alive while each part runs.
        flops: Operations of matrix products and convolutions in the step.
    """

    operators: int
    moments: tuple[Moment, ...]
    peak_bytes: int
    at_peak: dict[str, int]
    ends: tuple[int, ...]
    part_peaks: tuple[int, ...]
    flops: int

    def course(self) -> tuple[list[float], list[int]]:
        """The moments as charts take them.

        Returns:
            How much of the step's operators have run, in percent, and the bytes alive.
        """
        places = [100 * moment.operator / self.operators for moment in self.moments]
        return places, [moment.total for moment in self.moments]


def step_memory(run: TrainedRun) -> StepMemory:
    """Count a step of a run's recipe on fake tensors: exact, without data or accelerator.

    Args:
        run: Finished or not, of classification.

    Returns:
        What the second step holds: parameters, buffers, gradients, the optimizer's state, batch and activations. The
        allocator's rounding and what operators need inside themselves is not seen; fp16 is counted as bf16.
    """
    measured, ends = rehearsed_step(run.recipe, run.spec)
    return StepMemory(
        operators=max(moment.operator for moment in measured.moments),
        moments=measured.thinned(_STRETCHES),
        peak_bytes=measured.peak.total,
        at_peak=dict(zip(KINDS, measured.peak.held, strict=True)),
        ends=tuple(ends),
        part_peaks=tuple(measured.peak_of(part) for part in range(len(ends))),
        flops=measured.total_flops,
    )


def block_times(run: TrainedRun, device: torch.device, *, repeats: int = 3) -> list[float]:
    """Take steps of a run's recipe, with fresh weights and random images, and clock every block.

    Args:
        run: Finished or not, of classification.
        device: Where steps are taken; an accelerator is waited for at every border between blocks.
        repeats: Steps that count, after one that does not.

    Returns:
        Seconds of each block: its forward pass, and the objectives and backward passes of windows that end with it. The
        optimizer's step is apart.

    Raises:
        TrainingStopped: Memory ran out.
    """
    recipe = run.recipe
    with memory_explained("while steps were timed", remedy=SMALLER, device=device):
        model = build_model(without_weights(recipe), run.spec, device).train()
        inputs = torch.rand(recipe.training.batch_size, *run.spec.shape, device=device)
        if recipe.channels_last:
            inputs = inputs.to(memory_format=torch.channels_last)
        with precision_context(recipe.precision, device):
            return block_seconds(model, inputs, repeats=repeats)
