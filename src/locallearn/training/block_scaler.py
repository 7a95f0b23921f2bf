"""fp16 loss scales, one for each window: an overflow in a block is that block's affair alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from locallearn.errors import InputError, TrainingStopped
from locallearn.training.loss_guard import described

if TYPE_CHECKING:
    from locallearn.abstract_method import Window

LOWEST = 2.0**-10


class BlockScaler:
    """Dynamic loss scales of windows that share no block.

    After a backward pass of the scaled losses, `unscale` divides each window's gradients by its scale; where one of
    them is infinite or NaN it drops that window's gradients, so that the optimizer passes these parameters by, and
    halves that scale. A scale doubles after `interval` steps in a row without overflow.

    Args:
        windows: The method's windows.
        parameters: Each window's parameters, those of its objective included.
        initial: First scale of every window.
        interval: Steps without overflow before a scale doubles.

    Raises:
        InputError: Two windows train the same block: their gradients are summed and cannot be told apart.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        parameters: Sequence[Sequence[nn.Parameter]],
        *,
        initial: float = 2.0**16,
        interval: int = 2000,
    ) -> None:
        for first, second in pairwise(sorted(windows, key=lambda window: (window.start, window.stop))):
            if second.start < first.stop:
                raise InputError(
                    f"Precision fp16 needs windows that share no block, but {tuple(first[:2])} and {tuple(second[:2])} "
                    "overlap: use precision bf16 or fp32."
                )
        self.windows = tuple(windows)
        self.parameters = [list(group) for group in parameters]
        self.interval = interval
        self.scales = [initial] * len(self.windows)
        self.clean_steps = [0] * len(self.windows)

    def unscale(self) -> list[int]:
        """Turn scaled gradients into gradients, and drop those of windows that overflowed. Waits for the device once.

        Returns:
            Indices of the windows that overflowed.

        Raises:
            TrainingStopped: A window overflows whatever its scale.
        """
        sizes = [self._unscaled_size(window) for window in range(len(self.windows))]
        finite = torch.stack([torch.isfinite(size) for size in sizes]).tolist()
        overflowed = [window for window, fine in enumerate(finite) if not fine]
        for window, fine in enumerate(finite):
            if fine:
                self._grow(window)
            else:
                self._shrink(window)
        return overflowed

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data.

        Returns:
            Every window's scale and how many steps it has held.
        """
        return {"scales": list(self.scales), "clean_steps": list(self.clean_steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`.

        Args:
            state: From a scaler of as many windows.
        """
        self.scales, self.clean_steps = list(state["scales"]), list(state["clean_steps"])

    def _gradients(self, window: int) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters[window] if parameter.grad is not None]

    def _unscaled_size(self, window: int) -> Tensor:
        gradients = self._gradients(window)
        if not gradients:
            return torch.zeros((), device=self.parameters[0][0].device)
        torch._foreach_mul_(gradients, 1 / self.scales[window])  # pyright: ignore[reportPrivateImportUsage]
        return nn.utils.get_total_norm(gradients, float("inf"), foreach=True)

    def _grow(self, window: int) -> None:
        self.clean_steps[window] += 1
        if self.clean_steps[window] == self.interval:
            self.scales[window] *= 2
            self.clean_steps[window] = 0

    def _shrink(self, window: int) -> None:
        for parameter in self.parameters[window]:
            parameter.grad = None
        self.scales[window] /= 2
        self.clean_steps[window] = 0
        if self.scales[window] < LOWEST:
            raise TrainingStopped(
                f"The gradients of {described(self.windows[window])} overflow in fp16 at every loss scale down to "
                f"{LOWEST}: use --precision bf16 or fp32, or lower the learning rate."
            )
