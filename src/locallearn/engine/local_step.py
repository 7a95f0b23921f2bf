"""One batch's way through consecutive blocks: forward, and backward window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from locallearn.engine.gradient_flow import add_to, push_back
from locallearn.engine.lean_backward import lean_backward
from locallearn.engine.scoring import Score, back_propagated, back_propagated_together
from locallearn.engine.segments import Pass, Segment
from locallearn.engine.step_listener import StepListener
from locallearn.objective import Batch, LocalObjective, LocalOutput, OutputLoss
from locallearn.partitioning.block import State, activation, with_activation
from locallearn.recomputation import recomputed

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel


class LocalStep:
    """Runs segments of a model in order; where windows end it scores their objectives and sends gradients back.

    Where a window began before the first segment, `entry_gradients` has what is to go on there; where it ends after
    the last, `send_back` takes what comes from there.

    Args:
        model: What is trained.
        batch: Inputs, targets and images.
        scales: A factor for each window's gradients; 1 if None.
        keep_logits: Whether the outputs hold what the local heads predict.
        listener: Told of every block, objective and window as the step comes to it.
    """

    def __init__(
        self,
        model: LocalModel,
        batch: Batch,
        *,
        scales: Sequence[float | Tensor] | None,
        keep_logits: bool,
        listener: StepListener,
    ) -> None:
        self.model = model
        self.batch = batch
        self.outputs: dict[int, LocalOutput] = {}
        self.entry_gradients: dict[int, Tensor] = {}
        self._scales = scales
        self._keep_logits = keep_logits
        self._listener = listener
        self._passes: list[Pass] = []

    def run(
        self, state: State, segments: Sequence[Segment], *, handed_on: Callable[[State], None] | None = None
    ) -> State:
        """Run segments, and every window that ends in them to its end.

        Args:
            state: What the block before the first segment returned; the network's input for the first.
            segments: Consecutive ones.
            handed_on: Given what the last block returned, before windows that end there are scored.

        Returns:
            What the last block returned, with its graph if windows go on behind it.
        """
        windows = self.model.windows
        for segment in segments:
            self.model.active_window = segment.windows[0]
            entry = activation(state).detach()
            if any(windows[index].start < segment.start for index in segment.windows):
                entry.requires_grad_()
            state = self._forward(segment, with_activation(state, entry))
            if segment.stop == len(self.model.partition.blocks) and not isinstance(state, Tensor):
                last = cast(OutputLoss, self.model.objectives[-1])
                state = last.scored(state, self.batch, keep_prediction=self._keep_logits)
            self._passes.append(Pass(segment, entry, activation(state)))
            if handed_on is not None and segment is segments[-1]:
                handed_on(state)
            for index in (i for i in segment.windows if windows[i].stop == segment.stop):
                self.model.active_window = index
                self._listener.before_objective(index)
                for member, (output, gradient) in self._scored(index):
                    self.outputs[member] = output
                    self.send_back(member, gradient)
        self.model.active_window = None
        return state

    def send_back(self, index: int, stream: list[Tensor]) -> None:
        """Push a window's gradient through its segments, last to first, and drop the graphs nobody needs any more.

        Args:
            index: The window.
            stream: Holds the gradient of the last of its segments that was run here; its user empties it.
        """
        self.model.active_window = index
        self._listener.before_backward(index)
        window = self.model.windows[index]
        inside = [run for run in self._passes if window.start <= run.segment.start < window.stop]
        for run in reversed(inside):
            continues = run.segment.start > window.start
            is_last = run.segment.windows[-1] == index
            if len(run.segment.windows) == 1:
                push_back(run.output, stream)
            else:
                self._accumulate(run, stream, continues=continues, is_last=is_last)
            if continues:
                stream = [run.entry.grad] if run.entry.grad is not None else []
                run.entry.grad = None
            if is_last:
                self._passes.remove(run)
        if inside and window.start < inside[0].segment.start:
            self.entry_gradients[index] = stream.pop() if stream else torch.zeros_like(inside[0].entry)
        self.model.averages.after_window(index)
        self._listener.after_window(index)

    def _forward(self, segment: Segment, state: State) -> State:
        model = self.model
        with lean_backward(model.execution.lean):
            for index in range(segment.start, segment.stop):
                self._listener.before_block(index)
                run, called = model.runs[index], model.partition.blocks[index].modules_called
                if model.execution.recompute == "blocks":
                    state = recomputed(run, state, map(model.network.get_submodule, called))
                else:
                    state = run(state)
        return state

    def _scored(self, index: int) -> list[tuple[int, tuple[LocalOutput, list[Tensor]]]]:
        """Windows that are scored when a window's features are there, each with its report and gradient."""
        model, lean, scales = self.model, self.model.execution.lean, self._scales
        members = model.scored_with(index)
        read = {run.segment.stop: run.output for run in self._passes}
        features = [read[model.windows[member].stop] for member in members]
        objectives = [cast(LocalObjective, model.objectives[member]) for member in members]
        scores = [Score(model.windows[m], 1.0 if scales is None else scales[m], self._keep_logits) for m in members]
        if len(members) > 1:
            found = back_propagated_together(objectives, features, self.batch, scores, lean)
            return list(zip(members, found, strict=True))
        every = zip(members, objectives, features, scores, strict=True)
        return [(m, back_propagated(objective, values, self.batch, s, lean)) for m, objective, values, s in every]

    def _accumulate(self, run: Pass, stream: list[Tensor], *, continues: bool, is_last: bool) -> None:
        """Several windows cover the segment: inputs get each window's gradient apart, parameters the sum at the end."""
        (gradient,) = stream
        if continues:
            push_back(run.output, stream, inputs=[run.entry], retain_graph=True)
        add_to(run.gradient, gradient)
        del gradient, stream
        if is_last:
            blocks = range(run.segment.start, run.segment.stop)
            parameters = [p for block in blocks for p in self.model.block_parameters(block) if p.requires_grad]
            if parameters:
                push_back(run.output, run.gradient, inputs=parameters)
