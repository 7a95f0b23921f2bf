"""Forward cost of a module, counted without computing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_macs(build: Callable[[], nn.Module], shape: Sequence[int]) -> int:
    """Multiply-accumulates of convolutions and matrix products for one sample.

    The module is built on the meta device, so that neither memory nor random numbers are used.

    Args:
        build: Makes the module.
        shape: Of its input without the batch.

    Returns:
        The number.
    """
    with torch.device("meta"), torch.no_grad():
        # In training mode, since attention's fast path of evaluation is not counted; BatchNorm there needs two samples.
        module = build().to("meta").float().train()
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(2, *shape))
    return counter.get_total_flops() // 4
