"""Asynchronous local learning, simulated in one process: blocks take turns at paces of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

from torch import Tensor, nn, optim

from locallearn.compatibility import single_samples_explained
from locallearn.engine.step_in_backward import optimizer_problems
from locallearn.errors import InputError, listed
from locallearn.local_model import LocalModel
from locallearn.objective import LocalObjective, LocalOutput
from locallearn.parallel.replay_buffer import ReplayBuffer, buffer_problems
from locallearn.parallel.turn_order import Order, TurnOrder, order_problems
from locallearn.partitioning.block import State, activation

_REMEDY = "use DGL, PredSim or InfoPro by itself"


class Turn(NamedTuple):
    """One step of one block.

    Args:
        block: Which, counted from 0.
        output: What its window reports of the mini-batch.
    """

    block: int
    output: LocalOutput


class Asynchronous:
    """Trains every block at a pace of its own, from a replay buffer that the block before it fills.

    In a turn, block 0 takes the next batch and any other reads the buffer before it; the block runs, is sent its own
    loss's gradient, and the optimizer steps its parameters; its output, of before the step, goes into its own buffer,
    with targets and, where a later objective reads them, the network's inputs. Nothing runs at the same time: this is
    how the paper asks what stale and repeated features do to accuracy.

    Source: Belilovsky, Eickenberg, Oyallon. Decoupled Greedy Learning of CNNs. ICML 2020, Algorithm 2 and its
        experiment on buffers. Authors' code: eugenium/DGL at 597b82d7, buffer_experiments/cifar_buffer.py.
    Departures: The rules of `ReplayBuffer` and `TurnOrder`. One optimizer and one schedule for all blocks, where the
        released code gives each a clock: by epochs of its own its rate is divided by 5, and its momentum dropped, after
        17, 32 and 47, and it is frozen after 51 (15, 30, 45 and 50 are meant). The last, smaller batch is used unless
        the loader drops it. Network, heads and loss are the model's; buffers stay on the device.

    Args:
        model: Its method must train every block alone, as DGL, PredSim and InfoPro do.
        optimizer: Over all of the model's parameters that learn; see `StepInBackward`.
        capacity: Mini-batches in each buffer, M.
        slow: For slow blocks, how many turns others have in one of theirs, on average; at least 1.
        max_uses: How often a block may learn from the same mini-batch; then it lets its turns pass until the block
            before has made another. Without end if None.
        order: `"random"`, or `"round_robin"`, which with capacity 1 is synchronous training to the bit.
        seed: Of the turns.

    Raises:
        InputError: The model's blocks cannot be trained apart, or arguments do not fit.

    Example:
        >>> import locallearn as ll, torch
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> blocks = ll.partition(network, torch.zeros(2, 4), num_blocks=2)
        >>> model = LocalModel(blocks, ll.DGL(), ll.Classification(2))
        >>> training = Asynchronous(model, optim.SGD(model.parameters(), lr=0.1), capacity=4, slow={1: 2.0})
        >>> loader = [(torch.randn(8, 4), torch.randint(2, (8,))) for _ in range(3)]
        >>> [turn.block for turn in training.over(loader)][:4]
        [0, 0, 1, 1]
    """

    def __init__(
        self,
        model: LocalModel,
        optimizer: optim.Optimizer,
        *,
        capacity: int = 1,
        slow: Mapping[int, float] | None = None,
        max_uses: int | None = None,
        order: Order = "random",
        seed: int = 0,
    ) -> None:
        count = len(model.partition.blocks)
        parameters = [model.window_parameters(index) for index in range(len(model.windows))]
        problems = [*_model_problems(model, parameters), *order_problems(count, slow or {}, order)]
        problems += buffer_problems(capacity, max_uses)
        problems += optimizer_problems(model, optimizer, chain(*parameters))
        if problems:
            raise InputError(listed(problems))
        self.model = model
        self.optimizer = optimizer
        self.order = TurnOrder(count, slow=slow, order=order, seed=seed)
        self.buffers = [ReplayBuffer(capacity, max_uses=max_uses) for _ in range(count - 1)]
        self.turns, self.idle = [0] * count, [0] * count
        reading = [cast(LocalObjective, objective).reads_inputs for objective in model.objectives]
        self._inputs_read = [any(reading[block + 1 :]) for block in range(count)]

    def over(self, batches: Iterable[tuple[Any, Any]], *, keep_logits: bool = False) -> Iterator[Turn]:
        """Turns until block 0 finds no further batch, where the next call goes on; nothing happens unless iterated.

        Args:
            batches: Pairs of inputs and targets as `LocalModel.local_backward` takes them; an epoch, for instance.
            keep_logits: Whether outputs hold what heads predict.

        Yields:
            Turn: What was done. Turns let pass, which `idle` counts, do not appear.
        """
        source = iter(batches)
        while True:
            block = self.order.block
            entry = self._entry(block, source)
            if entry is None and block == 0:
                return
            output = None if entry is None else self._turn(block, *entry, keep_logits)
            (self.idle if output is None else self.turns)[block] += 1
            self.order.advance()
            if output is not None:
                yield Turn(block, output)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs besides the model's and the optimizer's states.

        Returns:
            Tensors and plain data; the tensors in the buffers are not copied.
        """
        return {
            "buffers": [buffer.state_dict() for buffer in self.buffers],
            "turns": list(self.turns),
            "idle": list(self.idle),
            "order": self.order.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another training was.

        Args:
            state: What its `state_dict` returned.

        Raises:
            InputError: It had other blocks, or its buffers held more.
        """
        if len(state["turns"]) != len(self.turns):
            raise InputError(f"The stored turns are of {len(state['turns'])} blocks, not of {len(self.turns)}.")
        for buffer, stored in zip(self.buffers, state["buffers"], strict=True):
            buffer.load_state_dict(stored)
        self.turns, self.idle = list(state["turns"]), list(state["idle"])
        self.order.load_state_dict(state["order"])

    def _entry(self, block: int, source: Iterator[tuple[Any, Any]]) -> tuple[State, Tensor | None, Any] | None:
        """State, inputs and targets to learn from, if there are any."""
        if block > 0:
            try:
                return self.buffers[block - 1].read()
            except TimeoutError:
                return None
        if (batch := next(source, None)) is None:
            return None
        self.model.task.check_targets(batch[1], len(batch[0]))
        inputs, targets = self.model.task.enter(self.model.network, *batch)
        self.model.check_size(len(inputs))
        return inputs, inputs, targets

    def _turn(self, block: int, state: State, inputs: Tensor | None, targets: Any, keep_logits: bool) -> LocalOutput:
        model = self.model
        self.optimizer.zero_grad()
        explained = single_samples_explained(len(activation(state)))
        with explained, model.stepping(model.batch(inputs, targets), keep_logits=keep_logits) as step:
            made = step.run(state, [model.segments[block]])
        # Nobody else has gradients, and optimizers leave parameters without gradients alone.
        self.optimizer.step()
        self.optimizer.zero_grad()
        if block < len(self.buffers):
            self.buffers[block].put((made, inputs if self._inputs_read[block] else None, targets))
        return step.outputs[block]


def _model_problems(model: LocalModel, parameters: Sequence[Sequence[nn.Parameter]]) -> list[str]:
    """Why a model's blocks cannot take turns of their own."""
    problems = []
    name = type(model.method).__name__
    if odd := next((window for index, window in enumerate(model.windows) if window[:2] != (index, index + 1)), None):
        problems.append(
            f"{name} has not one window for each block, but such as {odd}, and in asynchronous training every block "
            f"takes turns of its own: {_REMEDY}."
        )
    follows = chain(*(cast(LocalObjective, objective).follows() for objective in model.objectives))
    if follow := next(follows, None):
        problems.append(
            f"Objectives of {name} average parameters of other blocks, such as {follow.source!r}, which change in "
            f"turns of their own: {_REMEDY}."
        )
    owners = Counter(chain(*map(set, parameters)))
    shared = [name for name, p in model.named_parameters() if p.requires_grad and owners[p] > 1]
    if shared and not problems:
        problems.append(f"{shared[0]!r} is trained by several blocks, whose turns would undo each other's steps.")
    if model.execution.group_heads:
        problems.append("group_heads runs heads of several blocks together, and a turn is of one: leave it off.")
    return problems
