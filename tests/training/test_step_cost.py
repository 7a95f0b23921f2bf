from __future__ import annotations

from locallearn.training.step_cost import _counted, step_cost
from training.tiny_runs import recipe


def test_a_step_is_counted_without_data_and_once_for_all_seeds(tmp_path):
    _counted.cache_clear()
    for changes in ({}, {"seed": 4}, {"data": tmp_path}, {"device": "cuda:7"}, {"title": "another"}):
        cost = step_cost(recipe(**changes))
        assert cost.peak_bytes > 200 * 3 * 8 * 8 * 4 and cost.flops > 0
    assert _counted.cache_info().misses == 1
    assert step_cost(recipe(method={"name": "backprop"})).peak_bytes != cost.peak_bytes
    assert step_cost(recipe(training={"batch_size": 100})).peak_bytes < cost.peak_bytes
    assert _counted.cache_info().misses == 3


def test_networks_whose_constructor_reads_values_are_counted():
    counted = recipe(network="valued")
    assert step_cost(counted).peak_bytes > 0
