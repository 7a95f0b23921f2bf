"""Memory and arithmetic of a row's training step, by each meter that can see it."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from locallearn.benchmarking.bytes_saved import BytesSaved
from locallearn.benchmarking.rows import Row
from locallearn.benchmarking.sides import BatchForm, Setting, build
from locallearn.planning.bytes_alive import BytesAlive
from locallearn.precision import precision_context


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Cost of one training step; None where a meter cannot see it.

    Args:
        bytes_saved: Most bytes that autograd keeps at a time.
        bytes_alive: Most bytes alive at a time.
        cuda_peak: Most bytes that PyTorch's allocator on a CUDA device gave out at a time, after warm-up.
        flops: Floating-point operations of matrix products and convolutions.
    """

    bytes_saved: int | None
    bytes_alive: int | None
    cuda_peak: int | None
    flops: int | None


def step_memory(row: Row, setting: Setting, form: BatchForm) -> StepMemory:
    """Count a row's step: on fake tensors, and for the CUDA peak on a device if the setting names one.

    Args:
        row: What is trained how.
        setting: What all rows have in common.
        form: The batch.

    Returns:
        What was counted.
    """
    peak = cuda_peak(row, setting, form) if torch.device(setting.device).type == "cuda" else None
    if row.memory_budget is not None:
        # The compiler takes seconds to import.
        from locallearn.benchmarking.compiled_graph import graph_cost

        step = build(row, setting, form)
        with precision_context(row.precision, torch.device(setting.device)):
            cost = graph_cost(step.module, form.batch(setting)[0], row.memory_budget)
        return StepMemory(bytes_saved=cost.bytes_saved, bytes_alive=None, cuda_peak=peak, flops=cost.flops)
    if row.compiled:
        return StepMemory(bytes_saved=None, bytes_alive=None, cuda_peak=peak, flops=None)
    with FakeTensorMode():
        step = build(row, setting, form)
        # Not in the second step: the counter of operations holds on to tensors.
        with FlopCounterMode(display=False) as counter:
            step(*form.batch(setting))
        with BytesAlive(*step.held()) as alive, BytesSaved(step.module.parameters()) as saved:
            step(*form.batch(setting))
    seen = row.execution.recompute == "nothing"
    return StepMemory(
        bytes_saved=saved.peak if seen else None,
        bytes_alive=alive.peak,
        cuda_peak=peak,
        flops=counter.get_total_flops(),
    )


def cuda_peak(row: Row, setting: Setting, form: BatchForm, *, warm_up: int = 3) -> int:
    """Most bytes that PyTorch's allocator gives out at a time in a step on a CUDA device.

    Args:
        row: What is trained how.
        setting: With a CUDA device.
        form: The batch.
        warm_up: Steps before, in which the optimizer makes its state and cuDNN may try algorithms.

    Returns:
        Bytes, with the workspaces of cuBLAS, without those that cuDNN's search needs only once.
    """
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    step = build(row, setting, form)
    for _ in range(warm_up):
        step(*form.batch(setting))
    torch.cuda.synchronize(setting.device)
    torch.cuda.reset_peak_memory_stats(setting.device)
    step(*form.batch(setting))
    torch.cuda.synchronize(setting.device)
    return torch.cuda.max_memory_allocated(setting.device)
