"""What processes that are forked here find as it should be."""

from __future__ import annotations

import pytest
import torch

from parallel.cases import batch_of, model_of


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """One thread here as in the processes: sums over several threads end in other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def imported():
    """What a first model and optimizer import, which takes seconds, each forked process would import for itself."""
    model = model_of("dgl+man")
    model.local_backward(*batch_of(0))
    torch.optim.SGD(model.parameters(), lr=0.1).step()
