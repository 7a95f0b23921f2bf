"""When copies follow what another process trains."""

from __future__ import annotations

from typing_extensions import override

from locallearn.engine.moving_averages import MovingAverages
from locallearn.engine.step_listener import StepListener
from locallearn.parallel.source_exchange import SourceExchange


class CatchUp(StepListener):
    """Lets copies follow what is trained elsewhere, once a step, when the first of them is needed.

    Args:
        exchange: Receives the sources.
        averages: Moves the copies.
    """

    def __init__(self, exchange: SourceExchange, averages: MovingAverages) -> None:
        self._exchange = exchange
        self._averages = averages

    @override
    def before_objective(self, index: int) -> None:
        if self._averages.follows_elsewhere(index):
            self.catch_up()

    def catch_up(self) -> None:
        """Receive what is on its way, and move copies that have not moved since the last step."""
        self._exchange.receive()
        self._averages.catch_up()
