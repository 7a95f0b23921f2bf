"""Who is told how far a step has come."""

from __future__ import annotations

from typing_extensions import override


class StepListener:
    """Does nothing; override what is of interest.

    A step runs blocks in order; where windows end, it scores their objectives and sends the gradients back.
    """

    def before_block(self, index: int) -> None:
        """Called before a block's only forward pass in the step.

        Args:
            index: The block, counted from 0.
        """

    def before_objective(self, index: int) -> None:
        """Called before a window's objective is scored.

        Args:
            index: The window, counted from 0.
        """

    def before_backward(self, index: int) -> None:
        """Called before a window's gradient is sent back through its blocks.

        Args:
            index: The window, counted from 0.
        """

    def after_window(self, index: int) -> None:
        """Called when a window's backward pass is done and its graph is gone.

        The gradients of `LocalModel.settled_parameters(index)` are complete, and nothing in the step reads these
        parameters any more, except that moving averages follow them in `after_step`.

        Args:
            index: The window, counted from 0.
        """


class Several(StepListener):
    """Tells others, in order.

    Args:
        *listeners: Who is told.
    """

    def __init__(self, *listeners: StepListener) -> None:
        self.listeners = listeners

    @override
    def before_block(self, index: int) -> None:
        for listener in self.listeners:
            listener.before_block(index)

    @override
    def before_objective(self, index: int) -> None:
        for listener in self.listeners:
            listener.before_objective(index)

    @override
    def before_backward(self, index: int) -> None:
        for listener in self.listeners:
            listener.before_backward(index)

    @override
    def after_window(self, index: int) -> None:
        for listener in self.listeners:
            listener.after_window(index)


NOBODY = StepListener()
