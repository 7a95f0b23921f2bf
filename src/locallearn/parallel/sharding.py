"""Parameters of which every process keeps a part, gathered where a block needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from locallearn.errors import InputError, listed

if TYPE_CHECKING:
    from locallearn.local_model import LocalModel
    from locallearn.objective import LocalObjective

Value = TypeVar("Value")


def shard(model: LocalModel, group: dist.ProcessGroup | None) -> None:
    """Divide the parameters of a model's blocks and heads among processes, module by module (`fully_shard`).

    A block's parameters are gathered when it runs and given back when its backward pass is done, which adds up their
    gradients. Parameters that a block reads itself, outside of its modules, stay whole in every process.

    Args:
        model: Changed in place; make its optimizer afterwards.
        group: The processes; all if None.

    Raises:
        InputError: Windows overlap, or the execution replaces backward passes.
    """
    _check(model)
    kind = next(model.parameters()).device.type
    mesh = DeviceMesh.from_group(group if group is not None else dist.distributed_c10d._get_default_group(), kind)
    modules = [model.network.get_submodule(path) for block in model.partition.blocks for path in block.modules_called]
    heads = (head for objective in model.objectives for head in cast("LocalObjective", objective).auxiliary_networks())
    for module in dict.fromkeys([*modules, *heads]):
        if next(module.parameters(), None) is not None and not isinstance(module, FSDPModule):
            fully_shard(module, mesh=mesh)
            # Losses are weighted by each process's share of the batch, so that gradients need no division.
            sharded = cast(FSDPModule, module)
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)


def is_sharded(values: object) -> bool:
    """Whether a tensor is one of which this process has a part.

    Args:
        values: Anything.

    Returns:
        True if so.
    """
    return isinstance(values, DTensor)


def here(parameter: Tensor) -> Tensor:
    """What this process has of a tensor.

    Args:
        parameter: Whole or sharded.

    Returns:
        The tensor itself, or its part.
    """
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def whole(values: Value) -> Value:
    """A tensor put together from its parts; all processes must ask for it.

    Args:
        values: Anything; what is not sharded stays as it is.

    Returns:
        The whole tensor.
    """
    return cast(Value, values.full_tensor()) if isinstance(values, DTensor) else values


def like(values: Value, present: object) -> Value:
    """A tensor divided as another one is; all processes must ask for it.

    Args:
        values: Whole.
        present: Sharded or not.

    Returns:
        This process's part, or the tensor itself where it has another shape or the other is whole.
    """
    if isinstance(values, Tensor) and isinstance(present, DTensor) and values.shape == present.shape:
        moved = cast(Tensor, values).to(present.to_local().device)
        return cast(Value, distribute_tensor(moved, present.device_mesh, present.placements))
    return values


def _check(model: LocalModel) -> None:
    execution = model.execution
    problems = {
        "windows overlap, so that a block's backward pass is run in pieces: leave shard off": any(
            len(segment.windows) > 1 for segment in model.segments
        ),
        "lean, recompute, compile and group_heads read parameters where they are not gathered: leave them out": (
            execution.lean != "off" or execution.recompute != "nothing" or execution.compile or execution.group_heads
        ),
    }
    if found := [f"Parameters cannot be sharded: {problem}." for problem, there in problems.items() if there]:
        raise InputError(listed(found))
