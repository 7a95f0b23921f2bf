"""How short-sighted a method is: the angle between what its blocks learn from and back-propagation's gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from locallearn.datasets.batching import training_batches
from locallearn.errors import InputError, listed
from locallearn.partitioning.tracing import keeping_modes

if TYPE_CHECKING:
    from locallearn.analysis.trained_run import TrainedRun
    from locallearn.datasets.batching import AnyBatches
    from locallearn.datasets.image_set import ImageSet
    from locallearn.datasets.samples import Samples
    from locallearn.local_model import LocalModel


@dataclass(frozen=True)
class Agreement:
    """Cosines of some batches, block by block.

    Args:
        mean: For each block the mean over the batches; None for a block without gradient.
        deviation: For each block the standard deviation over the batches (of the population); None likewise.
    """

    mean: tuple[float | None, ...]
    deviation: tuple[float | None, ...]

    @property
    def inner_mean(self) -> float | None:
        """See `inner_mean`."""
        return inner_mean(self.mean)


def inner_mean(cosines: Sequence[float | None]) -> float | None:
    """The mean over the blocks but the last, which learns from the network's own loss under every method.

    Args:
        cosines: Of each block; None for a block without gradient.

    Returns:
        Their mean; None where no block before the last has a gradient.
    """
    known = [value for value in cosines[:-1] if value is not None]
    return fmean(known) if known else None


def gradient_agreement(model: LocalModel, batches: Iterable[tuple[Tensor, Any]]) -> Agreement:
    r"""Cosine between every block's gradient under the model's method and back-propagation's, on equal weights.

    .. math::
        c_k = \frac{\langle g_k, b_k \rangle}{\lVert g_k \rVert \lVert b_k \rVert}, \qquad
        g_k = \sum_{w \ni k} \nabla_{\theta_k} L_w, \quad b_k = \nabla_{\theta_k} L_\mathrm{task}

    where :math:`\theta_k` are the parameters of block k, the sum is over the windows that hold the block, as the method
    trains it, and the task's loss is that of the network's own output. Both gradients are taken in the same mode:
    BatchNorm normalises by the batch as in training, and everything that draws at random, such as dropout, is off.
    Nothing of the model changes: neither weights nor running statistics nor averaged copies.

    Args:
        model: The network with its blocks and trained objectives.
        batches: Inputs and targets.

    Returns:
        Means and deviations.

    Raises:
        InputError: See `LocalModel.local_backward`; or a gradient is not finite.

    Source:
        Own measure; no paper of local learning prints it. Both gradients are what the papers define: the local losses
        of Belilovsky et al. (DGL), ICML 2020, section 3, summed over windows as in Zhang et al. (MLAAN), AAAI 2025,
        and back-propagation's.
    """
    found: list[list[float | None]] = []
    for inputs, targets in batches:
        with _as_it_is(model):
            found.append(_cosines(_local(model, inputs, targets), _back_propagated(model, inputs, targets)))
    columns = [[value for value in column if value is not None] for column in zip(*found, strict=True)]
    return Agreement(
        tuple(fmean(column) if column else None for column in columns),
        tuple(pstdev(column) if column else None for column in columns),
    )


def agreement_over_training(
    run: TrainedRun, batches: Callable[[], Iterable[tuple[Tensor, Any]]], device: torch.device
) -> dict[str, Any]:
    """How the agreement changes while a run trains, at every step of which there is a checkpoint.

    Args:
        run: With checkpoints.
        batches: Gives the same inputs and targets, on the device, whenever it is called.
        device: Where to compute.

    Returns:
        `steps`; for each step and block `mean` and `deviation`; for each step `inner_mean`; and `missing`, a message
        for each step whose checkpoint is damaged or whose gradients are not finite.

    Raises:
        InputError: There is nothing to compare at any step.

    Source:
        See `gradient_agreement`.
    """
    found: dict[int, Agreement] = {}
    missing: dict[int, str] = {}
    for step in run.steps:
        try:
            found[step] = gradient_agreement(run.model(device, step=step, heads=True), batches())
        except InputError as error:
            missing[step] = str(error)
    if not found:
        raise InputError(listed(list(missing.values())))
    return {
        "steps": list(found),
        "mean": [list(each.mean) for each in found.values()],
        "deviation": [list(each.deviation) for each in found.values()],
        "inner_mean": [each.inner_mean for each in found.values()],
        "missing": [{"step": step, "why": why} for step, why in missing.items()],
    }


def drawn_batches(
    run: TrainedRun, train: ImageSet | Samples, device: torch.device, *, batch_size: int, seed: int = 0
) -> AnyBatches:
    """Batches such as the run trained on: augmented, mixed, and all of one size.

    Args:
        run: Says how its images were varied.
        train: Its training images.
        device: Where batches are wanted.
        batch_size: Images per batch.
        seed: Of order and augmentation.

    Returns:
        The batches.

    Raises:
        InputError: There are fewer images than a batch has.
    """
    if len(train) < batch_size:
        raise InputError(
            f"The {len(train)} training images of {str(run.path)!r} are fewer than a batch of {batch_size}: give a "
            "smaller --batch-size."
        )
    return training_batches(train, batch_size, spec=run.spec, seed=seed, device=device, drop_last=True)


def _local(model: LocalModel, inputs: Any, targets: Any) -> list[list[Tensor | None]]:
    """For each block the gradients of its parameters under the model's method."""
    model.zero_grad()
    model.local_backward(inputs, targets)
    return [[p.grad for p in model.block_parameters(block)] for block in range(len(model.partition.blocks))]


def _back_propagated(model: LocalModel, inputs: Any, targets: Any) -> list[list[Tensor | None]]:
    """The same of the task's loss through the whole network."""
    blocks = [model.block_parameters(block) for block in range(len(model.partition.blocks))]
    trained = [p for p in dict.fromkeys(p for block in blocks for p in block) if p.requires_grad]
    with torch.enable_grad():
        inputs, targets = model.task.enter(model.network, inputs, targets)
        loss = model.task.output_loss(model.network, model.network(inputs), targets)
        gradients = dict(zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True))
    return [[gradients.get(p) for p in block] for block in blocks]


def _cosines(
    local: Sequence[Sequence[Tensor | None]], back_propagated: Sequence[Sequence[Tensor | None]]
) -> list[float | None]:
    found = []
    for block, (mine, theirs) in enumerate(zip(local, back_propagated, strict=True), 1):
        cosine = _cosine(list(zip(mine, theirs, strict=True)))
        if cosine is not None and math.isnan(cosine):
            raise InputError(
                f"The gradients of block {block} are not finite: training went astray before this step; train again "
                "with a smaller --training.lr."
            )
        found.append(cosine)
    return found


def _cosine(pairs: Sequence[tuple[Tensor | None, Tensor | None]]) -> float | None:
    """Of two lists of gradients, a missing one for zeros; None where one side is zero, NaN where one is not finite."""
    products = torch.zeros(3, dtype=torch.float64)
    for one, other in pairs:
        a, b = (torch.zeros(()) if each is None else each.flatten().cpu().double() for each in (one, other))
        products += torch.stack([(a * b).sum(), (a * a).sum(), (b * b).sum()])
    dot, *squares = products.tolist()
    length = math.prod(math.sqrt(square) for square in squares)
    return dot / length if length else None


@contextmanager
def _as_it_is(model: LocalModel) -> Iterator[None]:
    """The mode in which gradients are compared; at the end everything is as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [(p, p.grad) for p in model.parameters()]
    with keeping_modes(model):
        model.eval()
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.train()
        try:
            yield
        finally:
            model.load_state_dict(before)
            for p, gradient in gradients:
                p.grad = gradient
