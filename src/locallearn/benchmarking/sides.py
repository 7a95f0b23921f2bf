"""From a row of the benchmark to a training step that can run, on real or fake tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch._functorch import config as compiler_config
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from typing_extensions import override

from locallearn import networks
from locallearn.benchmarking.rows import Row
from locallearn.local_model import LocalModel
from locallearn.partitioning import Partition, partition
from locallearn.planning.rehearsal import segments
from locallearn.planning.steps import LocalStep, PlainStep, Step
from locallearn.tasks import Classification

AnyModule = TypeVar("AnyModule", bound=nn.Module)

PUBLISHED = {"resnet32": 16, "resnet110": 55}
"""Networks with published cuts, and the number of blocks the tables have."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rows of one table have in common.

    Args:
        network: A name of `networks.build`.
        input_shape: Of one input, `(C, H, W)`.
        num_classes: Outputs of the network.
        num_blocks: K as the papers name it; None for a block for each unit.
        balance: What blocks share evenly where no cut is published.
        split_points: Instead of `num_blocks`: modules to cut after.
        preset: Whose published cuts for all rows; None for each row's own where the network has any.
        optimizer: What updates the weights.
        device: Where the steps run.
    """

    network: str
    input_shape: tuple[int, ...]
    num_classes: int = 10
    num_blocks: int | None = None
    balance: Literal["depth", "memory", "flops"] = "depth"
    split_points: tuple[str, ...] | None = None
    preset: str | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    device: str = "cpu"

    def preset_of(self, row: Row) -> str | None:
        """Whose published cuts a row has.

        Args:
            row: Of the table.

        Returns:
            A key of `published_cuts.PRESETS`, or None.
        """
        if row.segments or self.preset is not None:
            return None if row.segments else self.preset
        published = self.num_blocks is not None and self.num_blocks == PUBLISHED.get(self.network)
        return row.cut if published else None


@dataclass(frozen=True, kw_only=True)
class BatchForm:
    """How large the batches are and how they lie in memory.

    Args:
        size: Images in a batch.
        channels_last: Whether the channels of a pixel lie side by side.
    """

    size: int
    channels_last: bool = False

    def batch(self, setting: Setting, size: int | None = None) -> tuple[Tensor, Tensor]:
        """Images and classes drawn at random.

        Args:
            setting: For shape, classes and device.
            size: Images if not as many as in a batch.

        Returns:
            Inputs `(N, ...)` and targets `(N,)`.
        """
        size = self.size if size is None else size
        inputs = torch.rand(size, *setting.input_shape, device=setting.device)
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.to(memory_format=torch.channels_last)
        return inputs, torch.randint(setting.num_classes, (size,), device=setting.device)


class CompiledStep(PlainStep):
    """Plain PyTorch under `torch.compile` with a memory budget.

    Args:
        network: What is trained.
        memory_budget: Share of the activations that the compiler may keep for the backward pass.
        **settings: See `Step`.
    """

    def __init__(self, network: nn.Module, memory_budget: float, **settings: Any) -> None:
        super().__init__(network, F.cross_entropy, **settings)
        self.memory_budget = memory_budget
        network.compile()

    @override
    def backward(self, inputs: Tensor, targets: Tensor) -> None:
        with compiler_config.patch(activation_memory_budget=self.memory_budget):
            super().backward(inputs, targets)


def build(row: Row, setting: Setting, form: BatchForm) -> Step:
    """The step of a row, with a network of its own that starts with the same weights for all rows.

    Args:
        row: What is trained how.
        setting: What all rows have in common.
        form: The layout of the weights.

    Returns:
        A step that takes batches.
    """
    torch.manual_seed(0)
    with torch.device(setting.device):
        network = _laid_out(networks.build(setting.network, setting.num_classes), form)
    common: dict[str, Any] = {"optimizer": setting.optimizer, "precision": row.precision}
    if row.memory_budget is not None:
        return CompiledStep(network, row.memory_budget, **common)
    if row.method is None:
        return PlainStep(network, F.cross_entropy, micro_batches=row.micro_batches, **common)
    blocks = _cut(network, row, setting, form.batch(setting, 2)[0])
    channels = setting.input_shape[0]
    model = LocalModel(
        blocks,
        row.method,
        Classification(setting.num_classes),
        normalization=((0.5,) * channels, (0.25,) * channels),
        execution=row.execution,
    )
    return LocalStep(_laid_out(model, form), step_in_backward=row.step_in_backward, **common)


def _laid_out(module: AnyModule, form: BatchForm) -> AnyModule:
    """Convert the weights, except fake ones: they refuse, and feature maps follow the images' layout anyway."""
    if form.channels_last and not any(isinstance(parameter, FakeTensor) for parameter in module.parameters()):
        module.to(memory_format=torch.channels_last)
    return module


def _cut(network: nn.Module, row: Row, setting: Setting, example: Tensor) -> Partition:
    if setting.split_points is not None and not row.segments:
        return partition(network, example, split_points=setting.split_points)
    if setting.num_blocks is not None and not row.segments:
        return partition(
            network,
            example,
            num_blocks=setting.num_blocks,
            preset=setting.preset_of(row),
            balance=setting.balance,
        )
    units = len(partition(network, example, num_blocks=1).units)
    if row.segments:
        return partition(network, example, num_blocks=segments(units), balance="memory")
    return partition(network, example, num_blocks=units)
