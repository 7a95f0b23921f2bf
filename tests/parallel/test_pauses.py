"""Pauses between steps, in which nobody waits for anybody."""

from __future__ import annotations

import time

import torch

import locallearn as ll
from parallel.cases import batch_of, model_of
from parallel.processes import in_processes

PATIENCE = 2.0


def paused(rank):
    parallel = ll.BlockParallel(model_of("dgl", dtype=torch.float32), timeout=PATIENCE)
    losses = []
    for step in range(2):
        batch = batch_of(step, dtype=torch.float32) if parallel.is_first else ()
        losses.append(len(parallel.local_backward(*batch)))
        time.sleep(2 * PATIENCE if step == 0 else 0)
    parallel.settle()
    return losses


def test_a_pause_longer_than_the_timeout_ends_nothing(tmp_path):
    first, second = in_processes(2, tmp_path, paused)
    assert first[0] == first[1] > 0 and second[0] == second[1] > 0
