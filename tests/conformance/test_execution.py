"""However a step is carried out, every method on every network learns the same."""

from __future__ import annotations

import functools

import pytest
import torch

import locallearn as ll
from conformance.models import CASES, batch_of, model_of, most_blocks, train, values
from small_networks import gradients

EXECUTIONS = {
    "branches recomputed": ll.Execution(recompute="branches"),
    "blocks recomputed": ll.Execution(recompute="blocks"),
    "heads grouped": ll.Execution(group_heads=True),
    "lean": ll.Execution(lean="in_place"),
    "lean and recomputing": ll.Execution(lean="recompute"),
    "lean and all recomputed": ll.Execution(lean="recompute", recompute="blocks"),
}
TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}


def after_two_steps(method, name, **options):
    """Losses and values after two steps, then the gradients of a third."""
    model = model_of(method, name, min(3, most_blocks(name)), **options)
    losses = train(model, name, 2)
    model.zero_grad()
    model.local_backward(*batch_of(name, seed=5))
    return torch.stack(losses), values(model), gradients(model)


plainly = functools.cache(after_two_steps)


def marks(number, place):
    """Each method and network is fast with one execution in turn, slow with the others."""
    return [] if place == number % len(EXECUTIONS) else [pytest.mark.slow]


SPREAD = [
    pytest.param(*case, execution, marks=marks(number, place))
    for number, case in enumerate(CASES)
    for place, execution in enumerate(EXECUTIONS)
]


@pytest.mark.parametrize(("method", "name", "execution"), SPREAD)
def test_the_same_is_learned(method, name, execution):
    losses, state, slopes = plainly(method, name)
    found_losses, found_state, found_slopes = after_two_steps(method, name, execution=EXECUTIONS[execution])
    torch.testing.assert_close(found_losses, losses, **TOLERANCE)
    torch.testing.assert_close(found_state, state, **TOLERANCE)
    torch.testing.assert_close(found_slopes, slopes, **TOLERANCE)
    assert all(torch.equal(found_state[key], state[key]) for key in state if key.endswith("num_batches_tracked"))
