"""A run in progress: everything a checkpoint holds, and the epochs that change it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from locallearn.datasets.batches import Part
from locallearn.errors import InputError
from locallearn.training import checkpoint
from locallearn.training.agreed_stop import AgreedStop
from locallearn.training.epoch_tally import EpochTally
from locallearn.training.evaluation import count
from locallearn.training.loss_guard import LossGuard, check_weights
from locallearn.training.optimizer import build, set_rates
from locallearn.training.optimizer_step import OptimizerStep, shares
from locallearn.training.run_state import filled, joined_state, own_state, restore, restore_shares
from locallearn.training.stop_request import Interrupted
from locallearn.training.trainers import trainer_of

if TYPE_CHECKING:
    from locallearn.datasets.batching import AnyBatches
    from locallearn.metrics import Metric
    from locallearn.parallel.team import Team
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
        request: Signals to stop, which are answered before every step and every batch of an evaluation.
        team: The processes that train together.
        borders: Where a run that goes on had its blocks divided among as many processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        parts: Assembly,
        folder: RunFolder,
        progress: Progress,
        request: StopRequest,
        team: Team,
        borders: Sequence[int] | None = None,
    ) -> None:
        self.recipe, self.parts, self.folder, self.progress, self.team = recipe, parts, folder, progress, team
        self.model = parts.model
        self.share = Part(team.replica, team.layout.replicas)
        self.trainer = trainer_of(self.model, recipe, team, self._blank_inputs, borders)
        self.stop = AgreedStop(request, team, self.trainer)
        self.optimizer = build(self.model.parameter_groups(), recipe.training)
        self.stepping = OptimizerStep(self.trainer, self.optimizer, recipe, parts.device)
        self.guard = LossGuard([self.model.windows[index] for index in self.trainer.windows], parts.device)
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
            self.team.together(self._check)
            seconds = time.perf_counter() - started
            batches = self.batch - first
            # What was learned is kept even if the evaluation fails.
            trained = self.save() if self._evaluation_due else None
            self._finish_epoch()
            if self.team.leads:
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
        # With replay, processes may stand at different steps; the leading one's counts.
        if self.team.shared(lambda: self._saved_at == (self.epoch, self.batch)):
            return None
        self.team.together(self.guard.check)
        self.trainer.settle()
        own = own_state(self.trainer, self.optimizer, self.tally, replica=self.team.replica)
        states = self.team.gathered(own)
        path = self.team.shared(lambda: self._written(states or [], in_place_of))
        self._saved_at = (self.epoch, self.batch)
        return path

    def restore(self, path: Path) -> None:
        """Go on exactly where a checkpoint was written.

        Args:
            path: The checkpoint's folder.

        Raises:
            InputError: The checkpoint is damaged, or of another network, method or version.
        """
        state = self.team.shared(lambda: checkpoint.load(path))
        try:
            restore(state, self.trainer, self.optimizer)
            if self.stepping.scaler:
                self.stepping.scaler.load_state_dict(state["scaler"])
            self.epoch, self.batch, self.step = (state["position"][name] for name in ("epoch", "batch", "step"))
            self.rates = dict(state["position"]["rates"])
            self.trainer.steps = self.step
            restore_shares(state, self.trainer, self.tally, self.team, seed=self.recipe.seed, step=self.step)
        except (KeyError, RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(f"The checkpoint {path} does not fit this run ({error}).") from error
        if self.team.leads:
            self.folder.metrics.truncate(state["position"]["metrics_bytes"])
            self.folder.timings.truncate(state["position"]["timings_bytes"])
        self._saved_at = (self.epoch, self.batch)

    def whole_network(self) -> nn.Module:
        """The network with all its values, which parts of it may have elsewhere; every process must ask for it.

        Returns:
            The network, in the leading process; in others that do not have all of it, what is there.
        """
        states = self.team.gathered(own_state(self.trainer, self.optimizer, self.tally, replica=self.team.replica))
        if states is None:
            return self.model.network
        tensors = {name: tensor for state in states for name, tensor in state.get("network", {}).items()}
        return filled(self.model.network, tensors)

    @property
    def _blank_inputs(self) -> torch.Tensor:
        size = self.share.size(min(self.recipe.training.batch_size, self.parts.train.count))
        return torch.zeros(size, *self.parts.spec.shape, device=self.parts.device)

    def _check(self) -> None:
        self.guard.check()
        check_weights(self.model, self.step)

    def _train_epoch(self) -> None:
        training, count = self.recipe.training, len(self.parts.train)
        # Where another process reads the batches, they come with the activations.
        nothing: Iterator[tuple[Any, Any]] = repeat((None, None))
        batches = self.parts.train.epoch(self.epoch - 1, start=self.batch) if self.trainer.is_first else nothing
        while self.batch < count and self.step < self.steps:
            self.stop.check()
            self.team.watch.begin_step(self.step + 1)
            self.rates = set_rates(self.optimizer, training, epoch=self.epoch, position=self.step, steps=self.steps)
            following = min(self.batch + training.accumulate, count)
            parts = shares(self.parts.train.count, training.batch_size, self.batch, following, self.share)
            for index, share in enumerate(parts, 1):
                self._add(*next(batches), share, last=index == len(parts))
            self.stepping.finish()
            self.batch, self.step = following, self.step + 1
            self.progress.step(self.step)
            if self._checkpoint_due() and self.batch < count:
                self.save()

    def _checkpoint_due(self) -> bool:
        every = self.recipe.training.checkpoint_every_steps
        return every is not None and self.step % every == 0

    def _add(self, inputs: Any, targets: Any, share: float, *, last: bool) -> None:
        if self.recipe.channels_last and isinstance(inputs, torch.Tensor):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        outputs = self.stepping.add(inputs, targets, share, last=last)
        if self.stepping.scaler is None:
            self.guard.watch(torch.stack([output.loss for output in outputs.values()]), self.step + 1)
        self.tally.add(outputs, self.trainer.targets)

    def _finish_epoch(self) -> None:
        """Evaluate, write the epoch's line, and stand at the beginning of the next."""
        due = self._evaluation_due
        validation, test = (self._results(part, due=due) for part in (self.parts.validation, self.parts.test))
        tallies = self.team.gathered(self.tally.state_dict())
        if tallies is not None:
            self._record(tallies, validation, test)
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, self._new_tally()

    def _record(self, tallies: list[Any], validation: dict[str, Any], test: dict[str, Any]) -> None:
        whole = EpochTally(self.model.windows, self.model.task, torch.device("cpu"))
        for tally in tallies:
            whole.absorb(tally)
        blocks = whole.blocks()
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

    def _results(self, batches: AnyBatches | None, *, due: bool) -> dict[str, float | None]:
        if batches is None or not due:
            return {self.score: None}
        metric = self.model.task.metric()
        interrupted = self._interrupted_counting(batches, metric)
        if self.team.any(self.stop.announced() or interrupted):
            raise Interrupted
        counted = self.team.gathered(metric)
        if counted is None:
            return {}
        whole, *others = counted
        for other in others:
            whole.absorb(other)
        return {**whole.results()}

    def _interrupted_counting(self, batches: AnyBatches, metric: Metric) -> bool:
        try:
            with self.stepping.resident():
                count(self.model.network, self.trainer.outputs(self._glanced(batches)), metric)
        except Interrupted:
            return True
        return self.trainer.stopped

    def _glanced(self, batches: AnyBatches) -> Iterator[tuple[Any, Any]]:
        for batch in batches.epoch(0):
            self.stop.glance()
            yield batch

    def _new_tally(self) -> EpochTally:
        return EpochTally(self.model.windows, self.model.task, self.parts.device)

    def _written(self, states: list[Any], in_place_of: Path | None) -> Path:
        position = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "rates": self.rates,
            "metrics_bytes": self.folder.metrics.position,
            "timings_bytes": self.folder.timings.position,
        }
        scaler = self.stepping.scaler.state_dict() if self.stepping.scaler else {}
        state = joined_state(states, self.trainer, self.team.layout) | {"scaler": scaler, "position": position}
        keep = self.recipe.training.keep_checkpoints
        return checkpoint.save(self.folder.checkpoints, self.step, state, keep=keep, in_place_of=in_place_of)
