"""A step's bytes and its blocks' seconds."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from locallearn.analysis.step_profile import block_times, step_memory
from locallearn.analysis.trained_run import TrainedRun
from locallearn.parallel.whole_model import WholeModel
from locallearn.planning.bytes_alive import held_by, peak_bytes
from locallearn.simulation import step_clock
from locallearn.training import optimizer as optimizers
from locallearn.training.assembly import build_model
from locallearn.training.optimizer_step import OptimizerStep
from locallearn.training.step_cost import step_cost
from training.tiny_runs import recipe

CPU = torch.device("cpu")


def begun(**changes):
    return TrainedRun(Path("run"), recipe(network="still", **changes))


def real_peak(run):
    """Bytes alive at the peak of the second of two real steps."""
    model = build_model(run.recipe, run.spec, CPU)
    optimizer = optimizers.build(model.parameter_groups(), run.recipe.training)
    stepping = OptimizerStep(WholeModel(model), optimizer, run.recipe, CPU)

    def step():
        inputs = torch.empty(run.recipe.training.batch_size, *run.spec.shape).normal_()
        stepping.add(inputs, model.task.blank_targets(inputs), 1)
        stepping.finish()

    return peak_bytes(step, lambda: held_by(model, optimizer))


@pytest.mark.parametrize("method", ["dgl", "backprop"])
def test_the_peak_is_that_of_a_real_step(method):
    run = begun(method={"name": method})
    found = step_memory(run)
    assert found.peak_bytes == real_peak(run) == step_cost(run.recipe).peak_bytes
    assert found.peak_bytes == sum(found.at_peak.values()) == max(found.course()[1])
    assert found.flops == step_cost(run.recipe).flops


def test_moments_say_which_blocks_run_and_what_is_held():
    local, whole = step_memory(begun()), step_memory(begun(method={"name": "backprop"}))
    assert (local.ends, whole.ends) == ((1, 2), (2,))
    assert max(local.part_peaks) == local.peak_bytes and min(local.part_peaks) > 0
    assert local.at_peak["batch"] == 200 * (3 * 8 * 8 * 4 + 8)
    assert {moment.part for moment in local.moments} == {0, 1, None}
    places, _ = local.course()
    assert places == sorted(places) and 0 < places[0] < 1 and places[-1] == 100
    assert local.peak_bytes < whole.peak_bytes


def test_every_second_belongs_to_a_block(monkeypatch):
    # On this clock every look takes one second.
    monkeypatch.setattr(step_clock.time, "perf_counter", map(float, itertools.count()).__next__)
    assert block_times(begun(), CPU) == [4, 3]
    assert block_times(begun(method={"name": "backprop"}), CPU, repeats=1) == [2, 3]
