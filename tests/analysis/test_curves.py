"""The course of training from a run's logs."""

from __future__ import annotations

import json

import pytest

from locallearn.analysis import opened
from locallearn.analysis.curves import flops_per_step, series
from locallearn.analysis.trained_run import TrainedRun
from locallearn.recipes import save
from locallearn.training.step_cost import step_cost
from training.tiny_runs import recipe


def log(folder, records, timings):
    folder.mkdir()
    save(recipe(), folder / "recipe.toml")
    for name, lines in (("metrics", records), ("timings", timings)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return opened(folder)


def record(epoch, step, accuracy, *heads):
    blocks = [
        {"blocks": [i, i + 1], "role": "local", "loss": epoch + i / 10, "terms": {}, "accuracy": head}
        for i, head in enumerate(heads)
    ]
    told = {"train_accuracy": heads[-1], "validation_accuracy": None, "test_accuracy": accuracy}
    return {"epoch": epoch, "step": step, "blocks": blocks, **told}


def timing(epoch, seconds, batches):
    return {"epoch": epoch, "training_seconds": seconds, "batches": batches}


def test_a_trained_run_shows_what_its_log_says(runs):
    run = opened(runs["dgl"])
    found = series(run, flops_per_step=7)
    assert found.epochs == (1, 2)
    assert found.steps == tuple(line["step"] for line in run.metrics)
    assert found.flops == tuple(7 * step for step in found.steps)
    seconds = [line["training_seconds"] for line in run.timings]
    assert found.seconds == pytest.approx((seconds[0], sum(seconds)))
    assert found.test_error[-1] == pytest.approx(run.summary["test_error"])
    assert len(found.windows) == len(run.metrics[0]["blocks"])
    # The log counts from 0 and leaves the end out.
    logged = [each["blocks"] for each in run.metrics[0]["blocks"]]
    assert [window.blocks for window in found.windows] == [(first + 1, end) for first, end in logged]
    assert found.windows[-1].loss == found.loss
    assert found.train_error == pytest.approx(tuple(100 - value for value in found.windows[-1].accuracy))


def test_epochs_without_a_value_keep_their_place(tmp_path):
    records = [record(1, 10, 50.0, 40.0, 30.0), record(2, 20, None, 60.0, None), record(3, 30, 75.0, 70.0, 50.0)]
    records[0]["validation_accuracy"] = 45.0
    found = series(log(tmp_path / "run", records, [timing(1, 5.0, 10), timing(2, 6.0, 10)]))
    assert found.validation_error == (55, None, None)
    assert found.test_error == (50, None, 25)
    assert found.train_error == (70, None, 50)
    assert [window.accuracy for window in found.windows] == [(40, 60, 70), (30, None, 50)]
    assert found.loss == (1.1, 2.1, 3.1)
    assert found.flops is None and found.seconds == (5, 11, None)
    assert found.along("seconds", found.test_error) == ([5, 11], [50, None])
    assert found.along("flops", found.test_error) == ([], [])


def test_an_epoch_of_which_a_part_was_timed_counts_whole(tmp_path):
    records = [record(1, 10, 50.0, 40.0), record(2, 20, 50.0, 40.0), record(3, 24, 50.0, 40.0)]
    timings = [timing(1, 4.0, 10), timing(2, 1.0, 2), timing(3, 2.0, 4)]
    found = series(log(tmp_path / "run", records, timings))
    # 7 seconds for 16 batches.
    assert found.seconds == pytest.approx((4, 4 + 10 * 7 / 16, 6 + 10 * 7 / 16))


@pytest.mark.parametrize(("batches", "whole"), [(28, True), (27, False)])
def test_batches_of_an_accumulated_step_are_counted(tmp_path, batches, whole):
    run = log(tmp_path / "run", [record(1, 10, 50.0, 40.0)], [timing(1, 27.0, batches)])
    training = run.recipe.training.model_copy(update={"accumulate": 3})
    run = TrainedRun(run.path, run.recipe.model_copy(update={"training": training}))
    assert series(run).seconds == pytest.approx((27 if whole else 30,))
    assert flops_per_step(run) == 3 * step_cost(run.recipe).flops


def test_a_run_without_epochs_has_empty_curves(tmp_path):
    found = series(log(tmp_path / "run", [], []))
    assert found.epochs == found.seconds == found.windows == ()
    assert found.along("epochs", found.loss) == ([], [])
