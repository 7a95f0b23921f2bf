"""What a training step costs, block by block, and what lies between workers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from locallearn.errors import InputError, listed


@dataclass(frozen=True)
class BlockCost:
    """What a block costs with one batch.

    Args:
        forward: Seconds of its forward pass.
        backward: Seconds of its own backward pass under its local objective.
        auxiliary: Seconds of the local objective, forward and backward; of the last block the task's loss.
        output_bytes: Size of what it hands to the next block.
        kept_bytes: Activations alive between its forward and its backward pass.
        parameter_bytes: Size of its parameters.
        update: Seconds of the optimizer's step for it.
        auxiliary_kept_bytes: Activations that the local objective keeps besides.
        auxiliary_parameter_bytes: Size of the local objective's parameters.
        followed_bytes: Parameters of later blocks that the local objective keeps copies of, as MAN's does.

    Raises:
        InputError: A number is negative or not finite.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    forward: float
    backward: float
    auxiliary: float
    output_bytes: float
    kept_bytes: float
    parameter_bytes: float
    update: float = 0.0
    auxiliary_kept_bytes: float = 0.0
    auxiliary_parameter_bytes: float = 0.0
    followed_bytes: float = 0.0

    def __post_init__(self) -> None:
        wrong = [f"{name} is {value!r}" for name, value in vars(self).items() if not 0 <= value < math.inf]
        if wrong:
            raise InputError(f"Costs of a block must be finite and not negative: {', '.join(wrong)}.")

    @property
    def seconds(self) -> float:
        """Everything that its worker computes for one batch."""
        return self.forward + self.auxiliary + self.backward + self.update

    @property
    def trained_bytes(self) -> float:
        """Size of all parameters that are trained with it."""
        return self.parameter_bytes + self.auxiliary_parameter_bytes

    def scaled(self, share: float) -> BlockCost:
        """The cost of a part of the batch: all that grows with it in proportion, parameters and update as they are.

        Args:
            share: Part of the batch, or a multiple.

        Returns:
            The cost.
        """
        grows = ("forward", "backward", "auxiliary", "output_bytes", "kept_bytes", "auxiliary_kept_bytes")
        return dataclasses.replace(self, **{name: share * getattr(self, name) for name in grows})


@dataclass(frozen=True)
class Workload:
    """A network's blocks and the batch that their costs belong to.

    Args:
        blocks: The cost of each block, first to last.
        batch_size: Images in the batch.
        end_to_end_backward: A backward pass through the whole network over the sum of `backward`; above 1, because
            blocks that learn alone compute no gradient of their input.

    Raises:
        InputError: There is no block, or a number makes no sense.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    blocks: tuple[BlockCost, ...]
    batch_size: int
    end_to_end_backward: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if not self.blocks:
            problems.append("blocks is empty: give the cost of at least one block.")
        elif not any(block.seconds for block in self.blocks):
            problems.append("The blocks take no time at all: give seconds.")
        if self.batch_size < 1:
            problems.append(f"batch_size must be at least 1, not {self.batch_size}.")
        if not 0 < self.end_to_end_backward < math.inf:
            problems.append(f"end_to_end_backward must be finite and above 0, not {self.end_to_end_backward}.")
        if problems:
            raise InputError(listed(problems))

    def scaled(self, batch_size: int) -> Workload:
        """The workload of another batch, if costs grow in proportion.

        Args:
            batch_size: Images in the other batch.

        Returns:
            The workload.
        """
        blocks = tuple(block.scaled(batch_size / self.batch_size) for block in self.blocks)
        return dataclasses.replace(self, blocks=blocks, batch_size=batch_size)

    def end_to_end(self) -> Workload:
        """The workload of back-propagation: no local objectives but the last, whose loss is the task's.

        Returns:
            The workload.
        """
        local = ("auxiliary", "auxiliary_kept_bytes", "auxiliary_parameter_bytes", "followed_bytes")
        bare = dict.fromkeys(local, 0.0)
        last = len(self.blocks) - 1
        blocks = tuple(
            dataclasses.replace(
                block,
                backward=block.backward * self.end_to_end_backward,
                # The optimizer steps the block alone.
                update=block.update * (block.parameter_bytes / block.trained_bytes if block.trained_bytes else 1.0),
                **({} if index == last else bare),
            )
            for index, block in enumerate(self.blocks)
        )
        return dataclasses.replace(self, blocks=blocks, end_to_end_backward=1.0)

    def json(self) -> str:
        """The workload as text.

        Returns:
            JSON that `workload_from` reads back.
        """
        from pydantic import TypeAdapter

        return TypeAdapter(Workload).dump_json(self, indent=2).decode()


@dataclass(frozen=True)
class Link:
    """What lies between two workers, the same in both directions and at the same time.

    Args:
        bandwidth: Bytes per second.
        latency: Seconds from the last byte's departure to its arrival.

    Raises:
        InputError: A number makes no sense.
    """

    bandwidth: float = math.inf
    latency: float = 0.0

    def __post_init__(self) -> None:
        if not self.bandwidth > 0:
            raise InputError(f"The bandwidth of a link must be above 0, not {self.bandwidth}.")
        if not 0 <= self.latency < math.inf:
            raise InputError(f"The latency of a link must be finite and not negative, not {self.latency}.")

    def averaging(self, size: float, replicas: int) -> float:
        """Seconds of an all-reduce: `2 (R-1)/R size / bandwidth`, as in a ring, and `2 log2(R)` latencies.

        Args:
            size: Bytes to average.
            replicas: R, how many workers average them.

        Returns:
            Seconds.

        Source:
            R. Thakur, R. Rabenseifner and W. Gropp, Optimization of Collective Communication Operations in MPICH,
            2005, section 4.5 (Rabenseifner's algorithm), without the time of the additions.
        """
        carried = 2 * (replicas - 1) / replicas * size / self.bandwidth
        return carried + 2 * math.ceil(math.log2(replicas)) * self.latency


def workload_from(path: Path) -> Workload:
    """Read costs from a file.

    Args:
        path: JSON with `batch_size`, `blocks` (a list with the fields of `BlockCost`) and, if wanted,
            `end_to_end_backward`; nothing else.

    Returns:
        The workload.

    Raises:
        InputError: The file cannot be read, or keys or values are refused; all of them are named.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Workload).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"The costs {str(path)!r} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}"
            for each in error.errors(include_url=False)
        ]
        raise InputError(f"The costs {str(path)!r} are refused: {listed(found)}") from error
