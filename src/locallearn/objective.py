"""What a window of blocks is trained for: local objectives and the batch they see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from typing_extensions import override

from locallearn.errors import InputError
from locallearn.tasks import Task

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
_ROUNDING = 1e-2


class Batch:
    """One batch as an objective sees it.

    Args:
        inputs: What the network reads, `(N, C, H, W)` for images; None where only activations came.
        targets: What it should say, as the task has it; `(N,)` class indices for classification.
        normalization: Mean and standard deviation per channel that the inputs were normalised with; None if they are
            images in [0, 1] as they are.
        check_range: Whether `images` looks at its values, which waits for the device; `LocalModel` does so for every
            batch on a CPU, and elsewhere for the first.
        gather: From a tensor of this process's samples to one of all processes' that train on the batch, with its
            gradient; None if there are no others, or samples are not to be compared with theirs.
    """

    def __init__(
        self,
        inputs: Tensor | None,
        targets: Any,
        normalization: Normalization | None = None,
        *,
        check_range: bool = True,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self.prediction: Tensor | None = None
        self._normalization = normalization
        self._check_range = check_range
        self._gather = gather

    def gathered(self, values: Tensor) -> Tensor:
        """What a loss compares that looks at several samples at once.

        Args:
            values: `(N, ...)`, of this process's samples.

        Returns:
            The values themselves, or those of the samples of all processes.
        """
        return values if self._gather is None else self._gather(values)

    @cached_property
    def images(self) -> Tensor:
        """The inputs before normalisation, in [0, 1], in single precision or better; computed on first use.

        Raises:
            InputError: The values leave [0, 1] by more than rounding, so that the normalisation must be wrong; or the
                inputs were left where the first block runs.
        """
        if self.inputs is None:
            raise InputError(
                "An objective reads the batch's images, which were not sent with the activations because it says that "
                "it reads none: let its reads_inputs be True."
            )
        images = self.inputs.detach()
        images = images if images.dtype == torch.float64 else images.float()
        if self._normalization is not None:
            mean, std = (_per_channel(values, images) for values in self._normalization)
            images = torch.addcmul(mean, images, std)
        if self._check_range:
            _check_range(images, self._normalization)
        return images.clamp(0, 1) if self._normalization is None else images.clamp_(0, 1)


def _per_channel(values: tuple[float, ...], images: Tensor) -> Tensor:
    # Copying from the host would hold up an accelerator in every step; fake tensors must not outlive their mode.
    if images.device.type == "cpu" or isinstance(images, FakeTensor):
        return images.new_tensor(values).view(-1, 1, 1)
    return _kept(values, images.dtype, images.device)


@lru_cache(maxsize=16)
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


def _check_range(images: Tensor, normalization: Normalization | None) -> None:
    """Refuse images outside [0, 1]."""
    low, high = (float(value) for value in torch.aminmax(images))
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        given = (
            "no normalization was given" if normalization is None else f"the normalization {normalization} was given"
        )
        raise InputError(
            f"The images to restore range from {low:.3g} to {high:.3g} instead of [0, 1], and {given}. Pass the mean "
            "and the standard deviation that the inputs were normalised with: "
            "LocalModel(..., normalization=(mean, std))."
        )


class Part(NamedTuple):
    """One weighted summand of a local loss, with its graph.

    Args:
        name: What the log calls it.
        loss: A scalar.
        weight: Its factor in the sum.
        logits: `(N, num_outputs)` if this part predicts what the task asks for.
    """

    name: str
    loss: Tensor
    weight: float = 1.0
    logits: Tensor | None = None


class LocalOutput(NamedTuple):
    """What a window reports of one batch; nothing in it holds a graph after `LocalModel.local_backward`.

    Args:
        loss: The weighted sum, a scalar.
        terms: The unweighted summands by name.
        logits: `(N, num_outputs)`, if asked for and if the objective predicts.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    logits: Tensor | None


class Follow(NamedTuple):
    """A tensor of an auxiliary network that follows a tensor of the network as a moving average.

    Args:
        copy: The following tensor, `copy <- momentum * copy + (1 - momentum) * source` once per optimizer step.
        source: Name of the parameter or buffer in the network.
        momentum: Between 0 and 1.
        before_step: Whether to average after the window's backward pass, when the source is as it was in this batch's
            forward pass, instead of in `LocalModel.after_step`.
    """

    copy: Tensor
    source: str
    momentum: float
    before_step: bool = False


class LocalObjective(nn.Module, ABC):
    """Owns the auxiliary networks of one window and scores the window's features."""

    @property
    def reads_inputs(self) -> bool:
        """Whether `parts` reads the batch's inputs or images, which must then travel to where the objective is."""
        return True

    def prepare(self, features: Tensor) -> Tensor:
        """What all parts read in common, computed once: the features themselves unless overridden.

        Args:
            features: Output of the window's last block.

        Returns:
            The features, or what learned layers make of them, with its graph.
        """
        return features

    @abstractmethod
    def parts(self, prepared: Tensor, batch: Batch) -> Iterator[Part]:
        """The summands of the local loss, each computed only when asked for.

        The engine sends the gradient of a part back, and frees its graph, before it asks for the next. So parts must
        not share a graph: what they read in common belongs into `prepare`.

        Args:
            prepared: What `prepare` made of the output of the window's last block.
            batch: Inputs, targets and images.

        Yields:
            Part: The summands in order.
        """

    def auxiliary_networks(self) -> Iterable[nn.Module]:
        """What may be compiled: the modules that `prepare` and `parts` call.

        Returns:
            Modules from tensors to tensors.
        """
        return ()

    def recompute_branches(self) -> None:
        """From now on, keep only the inputs of copies of later units and run them again in the backward pass."""

    def follows(self) -> Iterable[Follow]:
        """Which tensors of this objective average tensors of the network.

        Returns:
            One entry for each such tensor.
        """
        return ()

    def forward(self, features: Tensor, batch: Batch) -> LocalOutput:
        """The whole loss with its graph, for inspection; training goes through `LocalModel.local_backward`.

        Args:
            features: Output of the window's last block.
            batch: Inputs, targets and images.

        Returns:
            The weighted sum, its summands and the logits.
        """
        parts = list(self.parts(self.prepare(features), batch))
        loss = torch.stack([part.weight * part.loss for part in parts]).sum()
        logits = next((part.logits for part in parts if part.logits is not None), None)
        return LocalOutput(loss, {part.name: part.loss for part in parts}, logits)


class Term(nn.Module):
    """An auxiliary network and what its output is scored by.

    Args:
        name: What the log calls the loss.
        auxiliary: From features to the output that is scored.
        score: From that output and the batch to a scalar.
        weight: Factor of the loss.
        predicts: Whether the output is what the task asks for.
        reads_inputs: Whether `score` reads the batch's inputs or images.
    """

    def __init__(
        self,
        name: str,
        auxiliary: nn.Module,
        score: Callable[[Tensor, Batch], Tensor],
        *,
        weight: float = 1.0,
        predicts: bool = False,
        reads_inputs: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.auxiliary = auxiliary
        self.score = score
        self.weight = weight
        self.predicts = predicts
        self.reads_inputs = reads_inputs

    def forward(self, features: Tensor, batch: Batch) -> Part:
        """Score the features.

        Args:
            features: Output of the window's last block.
            batch: Inputs, targets and images.

        Returns:
            The loss with its graph.
        """
        return self.part(self.auxiliary(features), batch)

    def part(self, output: Tensor, batch: Batch) -> Part:
        """Score what the auxiliary network returned.

        Args:
            output: The auxiliary network's.
            batch: Inputs, targets and images.

        Returns:
            The loss with its graph.
        """
        return Part(self.name, self.score(output, batch), self.weight, output.detach() if self.predicts else None)


class WeightedTerms(LocalObjective):
    """A weighted sum of terms, each with an auxiliary network of its own.

    Args:
        *terms: At least one.
    """

    def __init__(self, *terms: Term) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)

    @property
    @override
    def reads_inputs(self) -> bool:
        return any(cast(Term, term).reads_inputs for term in self.terms)

    @override
    def parts(self, prepared: Tensor, batch: Batch) -> Iterator[Part]:
        for term in self.terms:
            yield term(prepared, batch)

    @override
    def auxiliary_networks(self) -> Iterator[nn.Module]:
        return (cast(Term, term).auxiliary for term in self.terms)


class OutputLoss(LocalObjective):
    """The task's own loss on the network's own output: the objective of the last window.

    An output of several tensors is scored where it is computed, and this reads the loss, a scalar, and
    `Batch.prediction`.

    Args:
        task: What the network is trained for.
        network: The network.
    """

    def __init__(self, task: Task, network: nn.Module) -> None:
        super().__init__()
        self.task = task
        self._network = (network,)

    @property
    @override
    def reads_inputs(self) -> bool:
        return False

    def scored(self, output: Any, batch: Batch, *, keep_prediction: bool) -> Tensor:
        """Score an output that is not one tensor.

        Args:
            output: What the last block returned.
            batch: Gets the prediction.
            keep_prediction: Whether it is to be kept.

        Returns:
            The loss with its graph, a scalar.
        """
        prediction = self.task.prediction(output) if keep_prediction else None
        batch.prediction = None if prediction is None else prediction.detach()
        return self.task.output_loss(self._network[0], output, batch.targets)

    @override
    def parts(self, prepared: Tensor, batch: Batch) -> Iterator[Part]:
        if prepared.ndim == 0:
            yield Part("output", prepared.clone(), logits=batch.prediction)
        else:
            loss = self.task.output_loss(self._network[0], prepared, batch.targets)
            yield Part("output", loss, logits=prepared.detach())


def prediction_term(head: nn.Module, task: Task, *, weight: float = 1.0) -> Term:
    """The task's loss through a local head.

    Args:
        head: From features to `(N, num_outputs)`.
        task: What the network is trained for.
        weight: Factor of the loss.

    Returns:
        A term that predicts.
    """

    def task_loss(output: Tensor, batch: Batch) -> Tensor:
        return task.loss(output, batch.targets)

    return Term("prediction", head, task_loss, weight=weight, predicts=True)


def require_labels(task: Task, what: str) -> None:
    """Refuse a task without one class per sample.

    Args:
        task: What the network is trained for.
        what: The loss that needs labels, for the message.

    Raises:
        InputError: The task has no labels.
    """
    if not task.has_labels:
        raise InputError(
            f"{what} compares samples by their class, and {type(task).__name__} has none; use another method."
        )
