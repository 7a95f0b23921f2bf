"""A run in progress: everything a checkpoint holds, and the epochs that change it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from locallearn.errors import InputError
from locallearn.training import checkpoint, random_state
from locallearn.training.epoch_tally import EpochTally
from locallearn.training.evaluation import evaluate
from locallearn.training.loss_guard import LossGuard, check_weights
from locallearn.training.optimizer import build, set_rates
from locallearn.training.optimizer_step import OptimizerStep, shares

if TYPE_CHECKING:
    from locallearn.datasets.batching import AnyBatches
    from locallearn.recipes.recipe import Recipe
    from locallearn.training.assembly import Assembly
    from locallearn.training.progress import Progress
    from locallearn.training.run_folder import RunFolder
    from locallearn.training.stop_request import StopRequest


class Run:
    """Trains an assembly, one epoch after another, from wherever it stands.

    Args:
        recipe: The run's settings.
        parts: Data and model.
        folder: Where results and checkpoints go.
        progress: Told of every step and epoch.
        stop: Looked at before every step and every batch of an evaluation.
    """

    def __init__(
        self, recipe: Recipe, parts: Assembly, folder: RunFolder, progress: Progress, stop: StopRequest
    ) -> None:
        self.recipe, self.parts, self.folder, self.progress, self.stop = recipe, parts, folder, progress, stop
        self.model = parts.model
        self.optimizer = build(self.model.parameter_groups(), recipe.training)
        self.stepping = OptimizerStep(self.model, self.optimizer, recipe, parts.device)
        self.guard = LossGuard(self.model.windows, parts.device)
        self.score = self.model.task.metric().name
        self.epoch, self.batch, self.step = 1, 0, 0
        self.tally = self._new_tally()
        self.rates: dict[str, float] = {}
        self._saved_at: tuple[int, int] | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        training = self.recipe.training
        steps = training.epochs * self._steps_per_epoch
        return steps if training.max_steps is None else min(steps, training.max_steps)

    @property
    def epochs(self) -> int:
        """Epochs of the whole run; the last one ends early where the number of steps is limited."""
        return -(-self.steps // self._steps_per_epoch)

    @property
    def _steps_per_epoch(self) -> int:
        return -(-len(self.parts.train) // self.recipe.training.accumulate)

    @property
    def _evaluation_due(self) -> bool:
        return self.epoch % self.recipe.training.evaluate_every == 0 or self.epoch == self.epochs

    def train(self) -> None:
        """Run what is left of the epochs.

        Raises:
            Interrupted: Asked to stop; the state is whole and can be saved.
            TrainingStopped: A loss or weight is no number any more, or a checkpoint could not be written.
        """
        while self.epoch <= self.epochs:
            started, first = time.perf_counter(), self.batch
            self._train_epoch()
            self.guard.check()
            check_weights(self.model, self.step)
            seconds = time.perf_counter() - started
            batches = self.batch - first
            # What was learned is kept even if the evaluation fails.
            trained = self.save() if self._evaluation_due else None
            self._finish_epoch()
            self.folder.timings.append({"epoch": self.epoch - 1, "training_seconds": seconds, "batches": batches})
            self.save(in_place_of=trained)

    def save(self, *, in_place_of: Path | None = None) -> Path | None:
        """Write a checkpoint of this moment, unless there is one.

        Args:
            in_place_of: An earlier checkpoint that is no longer needed once this one is written.

        Returns:
            Its folder, or None if the last one is of this moment.

        Raises:
            TrainingStopped: It could not be written, or the losses are no numbers and must not be kept.
        """
        if self._saved_at == (self.epoch, self.batch):
            return None
        self.guard.check()
        keep = self.recipe.training.keep_checkpoints
        path = checkpoint.save(self.folder.checkpoints, self.step, self._state(), keep=keep, in_place_of=in_place_of)
        self._saved_at = (self.epoch, self.batch)
        return path

    def restore(self, path: Path) -> None:
        """Go on exactly where a checkpoint was written.

        Args:
            path: The checkpoint's folder.

        Raises:
            InputError: The checkpoint is damaged, or of another network, method or version.
        """
        state = checkpoint.load(path)
        try:
            self.model.network.load_state_dict(state["network"])
            self.model.objectives.load_state_dict(state["objectives"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.tally.load_state_dict(state["tally"])
            if self.stepping.scaler:
                self.stepping.scaler.load_state_dict(state["scaler"])
            self.epoch, self.batch, self.step = (state["position"][name] for name in ("epoch", "batch", "step"))
            self.rates = dict(state["position"]["rates"])
            self.folder.metrics.truncate(state["position"]["metrics_bytes"])
            self.folder.timings.truncate(state["position"]["timings_bytes"])
            random_state.restore(state["random"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"The checkpoint {path} does not fit this run ({error}).") from error
        self._saved_at = (self.epoch, self.batch)

    def _train_epoch(self) -> None:
        training, count = self.recipe.training, len(self.parts.train)
        batches = self.parts.train.epoch(self.epoch - 1, start=self.batch)
        while self.batch < count and self.step < self.steps:
            self.stop.check()
            self.rates = set_rates(self.optimizer, training, epoch=self.epoch, position=self.step, steps=self.steps)
            following = min(self.batch + training.accumulate, count)
            for share in shares(self.parts.train.count, training.batch_size, self.batch, following):
                self._add(*next(batches), share)
            self.stepping.finish()
            self.batch, self.step = following, self.step + 1
            self.progress.step(self.step)
            if self._checkpoint_due() and self.batch < count:
                self.save()

    def _checkpoint_due(self) -> bool:
        every = self.recipe.training.checkpoint_every_steps
        return every is not None and self.step % every == 0

    def _add(self, inputs: Any, targets: Any, share: float) -> None:
        if self.recipe.channels_last and isinstance(inputs, torch.Tensor):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        outputs = self.stepping.add(inputs, targets, share)
        if self.stepping.scaler is None:
            self.guard.watch(torch.stack([output.loss for output in outputs]), self.step + 1)
        self.tally.add(outputs, targets)

    def _finish_epoch(self) -> None:
        """Evaluate, write the epoch's line, and stand at the beginning of the next."""
        due = self._evaluation_due
        validation, test = (self._results(part, due=due) for part in (self.parts.validation, self.parts.test))
        blocks = self.tally.blocks()
        record = {
            "epoch": self.epoch,
            "step": self.step,
            "learning_rates": self.rates,
            "blocks": blocks,
            "train_accuracy": blocks[-1]["accuracy"],
            "score": self.score,
            **{f"validation_{name}": value for name, value in validation.items()},
            **{f"test_{name}": value for name, value in test.items()},
        }
        self.folder.metrics.append(record)
        self.progress.epoch(record, self.epochs)
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, self._new_tally()

    def _results(self, batches: AnyBatches | None, *, due: bool) -> dict[str, float | None]:
        if batches is None or not due:
            return {self.score: None}
        with self.stepping.resident():
            metric = self.model.task.metric()
            return {**evaluate(self.model.network, batches, metric, before_batch=self.stop.check)}

    def _new_tally(self) -> EpochTally:
        return EpochTally(self.model.windows, self.model.task, self.parts.device)

    def _state(self) -> dict[str, Any]:
        position = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "rates": self.rates,
            "metrics_bytes": self.folder.metrics.position,
            "timings_bytes": self.folder.timings.position,
        }
        return {
            "network": self.model.network.state_dict(),
            "objectives": self.model.objectives.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.stepping.scaler.state_dict() if self.stepping.scaler else {},
            "tally": self.tally.state_dict(),
            "position": position,
            "random": random_state.captured(),
        }
