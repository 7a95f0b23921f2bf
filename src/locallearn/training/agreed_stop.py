"""One answer of all processes to a signal that some of them got."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist

from locallearn.training.stop_request import Interrupted

if TYPE_CHECKING:
    from locallearn.parallel.block_parallel import BlockParallel
    from locallearn.parallel.layout import Layout
    from locallearn.parallel.team import Team
    from locallearn.parallel.whole_model import WholeModel
    from locallearn.training.stop_request import StopRequest

TERMINATED = 143


def _readers(layout: Layout, timeout: timedelta) -> dist.ProcessGroup | None:
    """The group of processes that read batches; None if there is one alone. All processes must ask for it."""
    if layout.replicas == 1:
        return None
    ranks = [layout.rank(0, replica) for replica in range(layout.replicas)]
    return cast(dist.ProcessGroup, dist.new_group(ranks, timeout))


class AgreedStop:
    """Lets all processes stop before the same step, though signals come at different moments, or to one alone.

    Processes that read batches add up, in every step, whether one was asked to stop; the sum is looked at one step
    later, so that nobody waits for it. The others hear of it from the process before them, in place of a batch.

    Args:
        request: This process's signals.
        team: All processes.
        trainer: What passes batches on.
    """

    def __init__(self, request: StopRequest, team: Team, trainer: WholeModel | BlockParallel) -> None:
        self._request, self._team, self._trainer = request, team, trainer
        self._told = False
        self._sum: tuple[dist.Work, torch.Tensor] | None = None
        self._group = _readers(team.layout, timedelta(seconds=team.watch.timeout))

    @property
    def exit_code(self) -> int:
        """What the process should exit with."""
        return self._request.exit_code or self._team.asked_to_stop() or TERMINATED

    def check(self) -> None:
        """Stop here if a process was asked to; every process must come here before every step.

        Raises:
            Interrupted: All processes stop before this step.
        """
        self.announced()
        if self._agreed() if self._trainer.is_first else self._trainer.stops():
            self._trainer.stop()
            raise Interrupted

    def glance(self) -> None:
        """Stop here if a process was asked to, whatever the others do; they must be told afterwards.

        Raises:
            Interrupted: A process was asked to stop.
        """
        if self._asked():
            self._trainer.stop()
            raise Interrupted

    def announced(self) -> bool:
        """Tell the others of a signal that came to this process.

        Returns:
            Whether one has come.
        """
        if self._request.exit_code is not None and not self._told:
            self._told = True
            self._team.ask_to_stop(self._request.exit_code)
        return self._told

    def _asked(self) -> bool:
        return self.announced() or self._team.asked_to_stop() is not None

    def _agreed(self) -> bool:
        asked = self._asked()
        if self._group is None:
            return asked
        before, own = self._sum, torch.tensor([int(asked)])
        work = dist.all_reduce(own, group=self._group, async_op=True)
        assert work is not None
        self._sum = work, own
        if before is None:
            return False
        self._team.watch.wait(before[0], "processes agreed whether to go on")
        return bool(before[1].item())
