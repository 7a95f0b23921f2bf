"""Cut a network into a chain of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from locallearn.errors import InputError, listed
from locallearn.partitioning.balance import balanced_sizes, even_sizes, forward_flops, saved_bytes
from locallearn.partitioning.block import Block, activation, starts_in_place, with_activation
from locallearn.partitioning.body import Shell, find_body
from locallearn.partitioning.published_cuts import known_network, published_sizes
from locallearn.partitioning.split_points import ends_after
from locallearn.partitioning.tracing import keeping_modes
from locallearn.partitioning.unit import TracedUnits, Unit, chained_units, find_units
from locallearn.partitioning.unit_copy import unit_copy


@dataclass(frozen=True)
class BlockInfo:
    """What a block consists of.

    Args:
        index: Its place, counted from 0.
        units: Indices of its units.
        in_shape: Shape of its input without the batch.
        out_shape: Shape of its last unit's output without the batch; the head of the last block comes after it.
    """

    index: int
    units: range
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]


@dataclass(frozen=True)
class Partition:
    """A network as a chain of blocks.

    Args:
        network: The network itself; it owns all parameters and buffers.
        units: The finest pieces worth cutting at.
        head: Pool and classifier, which follow the last unit; part of the last block.
        blocks: Their chain equals the network.
        infos: What each block consists of.
        input_shape: Shape of the network's input without the batch.
        output_shape: Shape of its output without the batch, of `"out"` where that is a dictionary as torchvision's
            segmentation networks return; None if it is neither.
        traced: The graph that units and blocks are pieces of.
        body: Name of the submodule that alone was cut, because what stands around it cannot be traced; `""` if the
            blocks are the whole network.
    """

    network: nn.Module
    units: tuple[Unit, ...]
    head: Block
    blocks: tuple[Block, ...]
    infos: tuple[BlockInfo, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...] | None
    traced: TracedUnits = field(repr=False, compare=False)
    body: str = ""

    def __len__(self) -> int:
        return len(self.blocks)

    def copy_unit(self, index: int, count: int = 1) -> nn.Module:
        """A module of its own that computes what a unit computes, with parameters and buffers of its own.

        Args:
            index: The unit, counted from 0.
            count: How many units from there on.

        Returns:
            A deep copy from activation to activation, without the network's hooks. Parameters and buffers carry the
            names they have in the network.

        Raises:
            InputError: There is no such unit, or it reads more than the activation.
        """
        if not (count >= 1 and 0 <= index <= len(self.units) - count):
            raise InputError(
                f"There are no {count} units from {index} on; {type(self.network).__name__} has {len(self.units)}."
            )
        return unit_copy(self.network, self.traced, index, count)


def partition(
    network: nn.Module,
    example: Tensor,
    *,
    num_blocks: int | None = None,
    balance: Literal["depth", "memory", "flops"] = "depth",
    split_points: Sequence[str] | None = None,
    preset: str | None = None,
    chain: Sequence[nn.Module] | None = None,
    side_outputs: Sequence[str] = (),
) -> Partition:
    """Cut a network into blocks whose chain equals it bit for bit.

    The network is traced, not changed: its blocks read its own modules at every call. Equality is checked on
    random numbers of the example's shape in evaluation mode (not on fake tensors); training flags and buffers are as
    before afterwards.

    Of torchvision's segmentation networks and detectors the backbone's body gives the units, and what follows it is the
    head; a detector, which cannot be traced, is cut at its body alone, and the example is a batch of images as its body
    reads them. Features of earlier layers that the head reads cross the borders of windows detached, also those between
    overlapping ones; within a window they carry gradients.

    Args:
        network: Any module that torch.fx can trace; parts inside that it cannot trace stay whole.
        example: One input batch, `(N, ...)`; two samples are enough.
        num_blocks: K, from 1 to the number of units.
        balance: What the blocks share evenly: units, bytes kept for the backward pass, or floating-point operations.
        split_points: Instead of `num_blocks`: names of modules; a block ends after each.
        preset: Cut as a paper's released code does at `num_blocks`; see `published_cuts.PRESETS`.
        chain: For a network that cannot be traced: its submodules in the order they are applied, the head last.
        side_outputs: Names of modules whose outputs a far later layer reads as well; it reads them detached where a
            window begins or ends in between. Those of torchvision's bodies are known.

    Returns:
        The blocks, the units they are made of, and the head.

    Raises:
        InputError: The network cannot be cut as asked; the message lists all reasons.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> blocks = partition(network, torch.zeros(2, 4), num_blocks=1)
        >>> [unit.name for unit in blocks.units]
        ['0']
    """
    _check_types(network, example, num_blocks)
    _check_request(network, example, num_blocks, split_points, preset)
    with _keeping_buffers(network, example):
        return _partition(network, example, num_blocks, balance, split_points, preset, chain, side_outputs)


def _partition(
    network: nn.Module,
    example: Tensor,
    num_blocks: int | None,
    balance: str,
    split_points: Sequence[str] | None,
    preset: str | None,
    chain: Sequence[nn.Module] | None,
    side_outputs: Sequence[str],
) -> Partition:
    _check_names(network, side_outputs, chain)
    body = find_body(network) if chain is None else None
    root = Shell(network, body.name) if body is not None and body.alone else network
    if chain is not None:
        traced = chained_units(network, example, list(chain))
    else:
        traced = find_units(root, example, body, side_outputs)
    count = len(traced.units)
    if split_points is not None:
        ends = ends_after(network, traced, split_points)
        sizes = [stop - start for start, stop in zip([0, *ends], [*ends, count], strict=True)]
    elif preset is not None:
        sizes = list(published_sizes(preset, known_network(network, traced.units), count, num_blocks))
        traced = traced.with_head_from(sum(sizes))
    else:
        sizes = _sizes(network, example, traced, num_blocks or 1, balance)
    return _assemble(network, example, traced, sizes, body.name if body is not None and body.alone else "")


def recut(partition: Partition, example: Tensor, sizes: Sequence[int]) -> Partition:
    """The same network cut at other units, without tracing it again.

    Args:
        partition: Any partition of the network.
        example: One input batch.
        sizes: Units of each block, at least one each; they sum up to the number of units.

    Returns:
        A partition of as many blocks.

    Raises:
        InputError: The network cannot be cut there, or the sizes do not fit.
    """
    if sum(sizes) != len(partition.units) or min(sizes) < 1:
        raise InputError(f"{list(sizes)} are no sizes of blocks that share {len(partition.units)} units.")
    with _keeping_buffers(partition.network, example):
        return _assemble(partition.network, example, partition.traced, sizes, partition.body)


def unit_bytes(partition: Partition, example: Tensor) -> list[float]:
    """What `balance="memory"` shares among blocks.

    Args:
        partition: Any partition of the network.
        example: One input batch.

    Returns:
        Bytes that each unit keeps for its backward pass of that batch, parameters apart.
    """
    network = partition.network
    pieces = [Block(network, partition.traced, index, index + 1) for index in range(len(partition.units))]
    with _keeping_buffers(network, example), keeping_modes(network):
        network.eval()
        return saved_bytes(pieces, network, example)


@contextmanager
def _keeping_buffers(network: nn.Module, example: Tensor) -> Iterator[None]:
    """Restore all buffers afterwards; fake ones have no values to restore."""
    real = not isinstance(example, FakeTensor)
    before = [(buffer, buffer.clone()) for buffer in network.buffers()] if real else []
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def _check_types(network: object, example: object, num_blocks: object) -> None:
    problems = []
    if not isinstance(network, nn.Module):
        problems.append(f"The network must be a torch.nn.Module, not {network!r}.")
    if not isinstance(example, Tensor):
        problems.append(f"The example must be a tensor, one input batch, not {example!r}.")
    if num_blocks is not None and (not isinstance(num_blocks, int) or isinstance(num_blocks, bool)):
        problems.append(f"num_blocks must be a whole number, not {num_blocks!r}.")
    if problems:
        raise InputError(listed(problems))


def _check_names(network: nn.Module, side_outputs: Sequence[str], chain: Sequence[nn.Module] | None) -> None:
    if isinstance(side_outputs, str):
        raise InputError(f"side_outputs is a sequence of names: give side_outputs=[{side_outputs!r}].")
    known = dict(network.named_modules())
    if strangers := [name for name in side_outputs if not name or name not in known]:
        raise InputError(
            f"side_outputs names modules, and {type(network).__name__} has none called "
            f"{', '.join(map(repr, strangers))}."
        )
    if side_outputs and chain is not None:
        raise InputError("side_outputs belongs to traced networks; modules given by chain= hand on one tensor each.")


def _check_request(
    network: nn.Module,
    example: Tensor,
    num_blocks: int | None,
    split_points: Sequence[str] | None,
    preset: str | None,
) -> None:
    problems = []
    if (num_blocks is None) == (split_points is None):
        problems.append("Give either num_blocks= or split_points=, not both and not neither.")
    if preset is not None and split_points is not None:
        problems.append("preset= goes with num_blocks=, not with split_points=.")
    if num_blocks is not None and num_blocks < 1:
        problems.append(f"num_blocks must be at least 1, not {num_blocks}.")
    if hasattr(network, "_orig_mod"):
        problems.append("The network is compiled as a whole: cut it first, then compile its blocks, see Execution.")
    if example.ndim < 2 or example.shape[0] < 1:
        problems.append(f"The example must be a batch, (N, ...), but has shape {tuple(example.shape)}.")
    devices = {str(parameter.device) for parameter in network.parameters()}
    if devices and str(example.device) not in devices:
        problems.append(
            f"The example is on {example.device}, the network on {', '.join(sorted(devices))}; move one of them."
        )
    if problems:
        raise InputError(listed(problems))


def _sizes(network: nn.Module, example: Tensor, traced: TracedUnits, num_blocks: int, balance: str) -> list[int]:
    count = len(traced.units)
    if num_blocks > count:
        whole = f" {', '.join(traced.whole)} cannot be traced and stay whole." if traced.whole else ""
        raise InputError(
            f"{type(network).__name__} has {count} units to cut between, so num_blocks can be at most {count}, not "
            f"{num_blocks}.{whole}"
        )
    if balance == "depth":
        return even_sizes(count, num_blocks)
    pieces = [Block(network, traced, index, index + 1) for index in range(count)]
    with keeping_modes(network):
        network.eval()
        if balance == "memory":
            costs = saved_bytes(pieces, network, example)
        elif balance == "flops":
            costs = forward_flops(pieces, example)
        else:
            raise InputError(
                f"balance is 'depth', 'memory' or 'flops', not {balance!r}. Cuts with the lowest peak of a whole step "
                "are chosen by `locallearn plan --balance peak` or ll.plan(..., balance='peak'): give the split_points "
                "that it names."
            )
    return balanced_sizes(costs, num_blocks)


def _assemble(network: nn.Module, example: Tensor, traced: TracedUnits, sizes: Sequence[int], body: str) -> Partition:
    count = len(traced.units)
    ends = list(accumulate(sizes))
    ranges = [range(stop - size, stop) for size, stop in zip(sizes, ends, strict=True)]
    blocks = tuple(Block(network, traced, units.start, units.stop + (units.stop == count)) for units in ranges)
    infos = tuple(
        BlockInfo(index, units, traced.units[units.start].in_shape, traced.units[units.stop - 1].out_shape)
        for index, units in enumerate(ranges)
    )
    problems = [*_hooks_that_would_not_run(network, traced), *_shared_across_cuts(network, blocks)]
    if problems:
        raise InputError(listed(problems))
    output_shape = _prove_equal(network.get_submodule(body), network, blocks, example)
    head = Block(network, traced, count, count + 1)
    return Partition(network, traced.units, head, blocks, infos, tuple(example.shape[1:]), output_shape, traced, body)


def _hooks_that_would_not_run(network: nn.Module, traced: TracedUnits) -> list[str]:
    """Modules with hooks whose forward is cut through, so that nobody calls them as a whole in training."""
    called = {str(node.target) for node in traced.nodes if node.op == "call_module"}
    through = {name.rpartition(".")[0] for name in called}
    through |= {parent for name in through for parent in _parents(name)}
    return [
        f"{name or type(network).__name__} has forward hooks, but is cut through, so that they would not run in local "
        "training; remove them or hook the modules inside."
        for name in sorted(through)
        if network.get_submodule(name)._forward_hooks or network.get_submodule(name)._forward_pre_hooks
    ]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts))]


def _shared_across_cuts(network: nn.Module, blocks: Sequence[Block]) -> list[str]:
    first_user: dict[str, int] = {}
    problems = []
    for index, block in enumerate(blocks):
        for name in block.parameter_names():
            if first_user.setdefault(name, index) != index:
                problems.append(
                    f"{name} is used by blocks {first_user[name]} and {index}; cut so that both uses are in one block, "
                    "or give each its own."
                )
    return problems


def _prove_equal(
    whole: nn.Module, network: nn.Module, blocks: Sequence[Block], example: Tensor
) -> tuple[int, ...] | None:
    """Check the chain against what was cut, have blocks that write into their input copy it; give the shape."""
    real = not isinstance(example, FakeTensor)
    inputs = _random_like(example) if real and example.is_floating_point() else example
    with keeping_modes(network), torch.no_grad():
        network.eval()
        state: Any = inputs
        for block in blocks:
            state = with_activation(state, activation(state).detach())
            version = activation(state)._version
            block.copies_input = starts_in_place(network, block.modules_called)
            entered = activation(state)
            state = block(state)
            if entered._version != version:
                block.copies_input = True
        if real:
            _compare(whole, state, whole(inputs))
    output = state.get("out") if isinstance(state, dict) else state
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else None


def _random_like(example: Tensor) -> Tensor:
    """Random numbers, since an example of zeros looks the same in many wrong orders; from a generator of their own."""
    return torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)


def _compare(network: nn.Module, chained: Any, whole: Any) -> None:
    # A trace turns ordered dictionaries into plain ones.
    left, left_spec = pytree.tree_flatten(dict(chained) if isinstance(chained, dict) else chained)
    right, right_spec = pytree.tree_flatten(dict(whole) if isinstance(whole, dict) else whole)
    same = left_spec == right_spec and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(left, right, strict=True)
    )
    if not same:
        raise InputError(
            f"The chain of blocks does not equal {type(network).__name__} on the example, bit for bit: its forward "
            "depends on something that a trace cannot see (random numbers, global state, or modules given in the wrong "
            "order)."
        )
