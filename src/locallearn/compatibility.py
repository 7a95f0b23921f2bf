"""Refusals of what does not fit together, before anything is computed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from torch import nn

from locallearn.abstract_method import Method, Window
from locallearn.errors import InputError, listed
from locallearn.partitioning import Partition, Unit
from locallearn.tasks import Task


def check_parts(partition: object, method: object, task: object) -> None:
    """Refuse parts of a model that are of the wrong kind or do not fit each other.

    Args:
        partition: A network cut into blocks.
        method: How the blocks are trained.
        task: What the network is trained for.

    Raises:
        InputError: A part is something else, or the network's output does not fit the task.
    """
    problems = [
        f"LocalModel's {name} must be a {kind.__name__} ({how}), not {given!r}."
        for name, given, kind, how in (
            ("partition", partition, Partition, "from ll.partition(...)"),
            ("method", method, Method, "such as ll.DGL() or ll.method('dgl')"),
            ("task", task, Task, "such as ll.Classification(10)"),
        )
        if not isinstance(given, kind)
    ]
    if problems:
        raise InputError(listed(problems))
    assert isinstance(partition, Partition) and isinstance(task, Task)
    task.check_network(partition.network)
    if not partition.body and partition.output_shape is not None and not task.fits(partition.output_shape):
        raise InputError(
            f"{type(partition.network).__name__} gives outputs of shape {partition.output_shape} for one sample, which "
            f"does not fit {task}."
        )


def check_windows(windows: Sequence[Window], num_blocks: int) -> None:
    """Refuse windows that do not cover the blocks.

    Args:
        windows: A method's windows.
        num_blocks: How many blocks there are.

    Raises:
        InputError: A block belongs to no window, or the windows are out of range or order.
    """
    if strangers := [window for window in windows if not isinstance(window, Window)]:
        raise InputError(f"A method's windows must be locallearn.Window values, not {strangers[0]!r}.")
    problems = [
        f"{window} is not a range of the blocks 0 to {num_blocks - 1}."
        for window in windows
        if not 0 <= window.start < window.stop <= num_blocks
    ]
    covered = {block for window in windows for block in range(window.start, window.stop)}
    if idle := sorted(set(range(num_blocks)) - covered):
        problems.append(f"No window covers blocks {idle}, which would not learn.")
    if not windows or windows[-1].stop != num_blocks:
        problems.append(f"The last window must end at block {num_blocks}, where the network's own loss is.")
    if [window.stop for window in windows] != sorted(window.stop for window in windows):
        problems.append("Windows must be given in the order in which they end.")
    if problems:
        raise InputError(listed(problems))


def check_layout(units: Sequence[Unit]) -> None:
    """Refuse maps with the channels last, which heads would misread: resolution falls and the last side grows.

    Args:
        units: The network's units.

    Raises:
        InputError: The units hand on (H, W, C).
    """
    if has_channels_last(units):
        maps = [unit.out_shape for unit in units if len(unit.out_shape) == 3]
        raise InputError(
            f"The units of this network hand on maps of shapes {maps[0]} to {maps[-1]}, with the channels last; local "
            "heads read (C, H, W). Train it by ll.Backprop(), or with a method of your own."
        )


def has_channels_last(units: Sequence[Unit]) -> bool:
    """Whether a network's maps have the channels last: resolution falls and the last side grows.

    Args:
        units: The network's units.

    Returns:
        True if the units hand on (H, W, C).
    """
    maps = [unit.out_shape for unit in units if len(unit.out_shape) == 3]
    return any(late[0] < early[0] and late[2] > early[2] for early, late in pairwise(maps))


def warn_of_back_propagation(windows: Sequence[Window], partition: Partition, method: Method) -> None:
    """Say so if a method of local losses is left with one window over several blocks.

    Args:
        windows: The method's windows.
        partition: The network cut into blocks.
        method: How the blocks are trained.
    """
    if len(windows) == 1 < len(partition.blocks) and method.has_objectives:
        warnings.warn(
            f"{type(method).__name__} puts all {len(partition.blocks)} blocks into one window, which is "
            "back-propagation; cut into more blocks, or make its cascade or depth smaller.",
            stacklevel=3,
        )


def containers(partition: Partition) -> dict[str, nn.Module]:
    """The modules that blocks cut through, calling their children one by one.

    Args:
        partition: The network cut into blocks.

    Returns:
        Modules by name.
    """
    called = {path for block in partition.blocks for path in block.modules_called}
    names = {path[:place] for path in called for place, letter in enumerate(path) if letter == "."}
    return {name: partition.network.get_submodule(name) for name in sorted(names)}


def check_containers(network: nn.Module, known: dict[str, nn.Module]) -> None:
    """Refuse a network whose structure is no longer the one that was cut.

    Args:
        network: The network.
        known: What `containers` found when it was cut.

    Raises:
        InputError: A module that blocks cut through was replaced.
    """
    for name, module in known.items():
        owner, _, attribute = name.rpartition(".")
        if getattr(known.get(owner, network), attribute, None) is not module:
            raise InputError(
                f"The module {name!r} of {type(network).__name__} was replaced after the network was cut, and blocks "
                "would go on without the new one's forward. Replace modules first, then partition and build the model."
            )


@contextmanager
def single_samples_explained(batch_size: int) -> Iterator[None]:
    """Say what to do where BatchNorm meets one value per channel, as after global pooling of a single image.

    Args:
        batch_size: Of the step inside.

    Yields:
        Nothing; the step runs inside.

    Raises:
        InputError: BatchNorm refused a batch of one.
        ValueError: What the step raised otherwise.
    """
    try:
        yield
    except ValueError as error:
        # Which maps shrink to a single place only the step itself shows.
        if batch_size != 1 or "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"BatchNorm cannot take a variance from a batch of one sample, whose map has a single place ({error}). "
            "Leave such a batch out, for instance with DataLoader(..., drop_last=True), or set these layers to eval(). "
            "No weight has changed; call zero_grad() before the next step."
        ) from error
