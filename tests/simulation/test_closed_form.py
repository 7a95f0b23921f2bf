"""The simulation against AugLocal's appendix."""

from __future__ import annotations

import pytest

from locallearn.simulation.closed_form import auglocal_ratio, auglocal_seconds
from locallearn.simulation.pipeline import local_timeline
from locallearn.simulation.workload import BlockCost, Link


@pytest.mark.parametrize(("depth", "ratio"), [(2, 0.054), (3, 0.071), (4, 0.089), (5, 0.107), (6, 0.125)])
def test_unit_costs_give_the_appendix_and_its_ratios(depth, ratio):
    layers, forward, backward, steps = 55, 1.0, 2.0, 200
    block = BlockCost(forward, backward, depth * (forward + backward), 0, 0, 0)
    found = local_timeline([[block]] * (layers + 1), Link(), steps=steps)
    assert found.seconds == auglocal_seconds(layers, depth, forward, backward, steps)
    assert found.seconds_per_step == (depth + 1) * (forward + backward)
    back_propagation = (layers + 1) * (forward + backward)
    assert found.seconds_per_step / back_propagation == pytest.approx(auglocal_ratio(layers, depth))
    assert round(auglocal_ratio(layers, depth), 3) == ratio
