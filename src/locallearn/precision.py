"""Arithmetic of forward passes; weights and gradients stay in single precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def precision_context(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """What forward and backward passes run in; weights and gradients stay fp32.

    Args:
        precision: `"fp32"`, `"bf16"` or `"fp16"`.
        device: Where the network is.

    Returns:
        Autocast without its cache of weights (which would outlive the block it was made for), or nothing for fp32.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, TYPES[precision], cache_enabled=False)
