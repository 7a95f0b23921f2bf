"""Numbers of runs and where they stand."""

from __future__ import annotations

import statistics

import pytest

from locallearn.analysis import opened
from locallearn.metrics.words import headed, in_words
from locallearn.reporting.document import Source
from locallearn.reporting.readings import last_reading, last_within, mean, quantity, result, told
from locallearn.reporting.subjects import chapters
from reporting.made_runs import made_run


def test_finished_runs_are_read_from_the_summary_and_others_from_their_last_evaluated_epoch(runs):
    done = last_reading(runs["backprop"], "test_error")
    assert (done.value, done.epoch) == (7.5, 4)
    assert done.source == Source(str(runs["backprop"].path), "summary.json", "test_error")
    going = last_reading(runs["under_way"], "test_error")
    assert (going.value, going.epoch, going.source.file, going.source.where) == (25.0, 1, "metrics.jsonl", "line 1")
    assert last_reading(runs["under_way"], "test_top5_error") is None


def test_an_empty_run_has_no_result(tmp_path):
    run = opened(made_run(tmp_path / "run", "digits", [], finished=False))
    assert last_reading(run, "test_error") is None
    assert mean([None]).value is None and str(mean([None])) == "missing"


def test_mean_and_deviation_are_the_samples(runs):
    subject = chapters(list(runs.values()))[0].subjects[0]
    found = result(subject, "test_error")
    values = [14.0, 15.0, 16.0]
    assert found.value == pytest.approx(sum(values) / 3)
    assert found.deviation == pytest.approx((sum((v - 15) ** 2 for v in values) / 2) ** 0.5) == statistics.stdev(values)
    assert str(found) == "15.00 ± 1.00" and len(found.sources) == 3


def test_a_mean_misses_what_any_run_misses(runs):
    readings = [last_reading(runs["backprop"], "test_error"), None]
    assert mean(readings).value is None


def test_the_last_epoch_within_a_budget_not_the_nearest(runs):
    run = runs["backprop"]
    assert last_within(run, "test_error", [1.0, 2.0, 3.0, 4.0], 3.9).value == 8.0
    assert last_within(run, "test_error", [1.0, 2.0, 3.0, 4.0], 3.0).value == 8.0
    assert last_within(run, "test_error", [1.0, 2.0, None, None], 9.0).value == 10.0
    assert last_within(run, "test_error", [1.0, 2.0, 3.0, 4.0], 0.5) is None


def test_errors_are_told_of_accuracies():
    assert told({"test_accuracy": 90.0, "test_top5_accuracy": 99.0}, "test_top5_error") == pytest.approx(1.0)
    assert told({"test_accuracy": None}, "test_error") is None
    assert told({"test_mean_iou": 40.0}, "test_mean_iou") == 40.0
    assert (quantity("accuracy"), quantity("box_ap")) == ("test_error", "test_box_ap")
    assert headed(in_words("test_mean_iou")) == "Test mean IoU"
    assert (in_words("stl10_accuracy"), in_words("test_box_ap50")) == ("STL-10 accuracy", "test box AP50")
