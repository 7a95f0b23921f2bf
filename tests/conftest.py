"""One thread per test process: the tensors are tiny, and workers share the cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
# Fake tensors announce a device, for which a later first backward pass would start threads that forked children lack.
torch.ones(1, requires_grad=True).sum().backward()
