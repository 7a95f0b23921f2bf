"""Published numbers beside ours, and the rule by which they are judged."""

from __future__ import annotations

import pytest

from locallearn.analysis import opened_all
from locallearn.recipes import Published, load
from locallearn.reporting.beside_papers import beside_papers, comparisons, judged, other_settings, reference
from locallearn.reporting.document import Verdict
from locallearn.reporting.subjects import chapters
from reporting.made_runs import found, made_run

RECIPE = "cifar10_resnet32_k16_dgl+man"
SHORT = {"training": {"epochs": 3}}


def compared(folder, recipe, error, **changes):
    made_run(folder, recipe, [error], **changes)
    (chapter,) = chapters(opened_all([folder]))
    return {each.number.name: each for each in comparisons(chapter.subjects[0])}


@pytest.mark.parametrize(
    ("value", "deviation", "verdict"),
    [
        (9.61, None, "reproduced"),
        (8.61, None, "reproduced"),
        (9.62, None, "close"),
        (9.62, 0.6, "reproduced"),
        (9.62, 0.1, "close"),
        (9.51, 0.1, "reproduced"),
        (11.11, None, "close"),
        (7.11, None, "close"),
        (11.12, None, "not"),
        (7.0, None, "not"),
        (12.0, 3.0, "reproduced"),
    ],
)
def test_the_rule(value, deviation, verdict):
    number = Published(name="test_error", value=9.11, deviation=deviation)
    assert judged(number, value) == verdict


def test_a_run_with_the_published_settings_is_judged(tmp_path):
    each = compared(tmp_path / "run", RECIPE, 9.0, seed=3, device="cpu", training={"keep_checkpoints": 5})
    assert each["test_error"].number.value == 9.11 and each["test_error"].verdict == "reproduced"
    assert each["test_error"].reason == ""
    assert each["memory"].verdict is Verdict.COUNTED_OTHERWISE
    assert each["memory"].ours.value == pytest.approx(2**30 / 1e9)
    assert each["stl10_accuracy"].verdict is Verdict.NOT_MEASURED
    assert not [name for name in each if name.startswith("backprop_")]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"training": {"epochs": 3}}, "training.epochs 3 (published: 400)"),
        ({"training": {"batch_size": 7}}, "training.batch_size 7 (published: 1024)"),
        ({"training": {"max_steps": 10}}, "training.max_steps 10 (published: not set)"),
        ({"dataset": {"validation": 0.1}}, "dataset.validation 0.1 (published: 0.0)"),
        ({"precision": "bf16"}, "precision bf16 (published: fp32)"),
        ({"method": {"momentum": 0.5}}, "method.momentum 0.5"),
    ],
)
def test_other_settings_are_named_and_never_reproduced(tmp_path, changes, named):
    each = compared(tmp_path / "run", RECIPE, 9.11, **changes)["test_error"]
    assert each.verdict is Verdict.OTHER_SETTINGS and named in each.reason


def test_a_run_under_way_is_not_judged(tmp_path):
    assert compared(tmp_path / "run", RECIPE, 9.11, finished=False)["test_error"].verdict is Verdict.UNFINISHED


def test_a_recipe_of_one_s_own_is_never_reproduced(tmp_path):
    number = Published(name="test_error", value=9.0)
    each = compared(tmp_path / "run", "digits", 9.0, title="Mine", published=[number.model_dump()])
    assert each["test_error"].verdict is Verdict.OTHER_SETTINGS and "cannot be compared" in each["test_error"].reason
    assert reference("Mine") is None and other_settings(load("digits")) is None


def test_every_published_recipe_is_found_by_its_title():
    assert reference(load(RECIPE).title) == load(RECIPE)
    assert other_settings(load(RECIPE)) == []


def test_accuracy_on_other_data_is_read_from_its_analysis(tmp_path):
    folder = made_run(tmp_path / "run", RECIPE, [9.0])
    found(folder, "transfer-stl10", mapped_accuracy=37.2, mapped_by="name")
    (chapter,) = chapters(opened_all([folder]))
    each = {each.number.name: each for each in comparisons(chapter.subjects[0])}["stl10_accuracy"]
    assert each.verdict == "reproduced" and each.ours.sources[0].file == "analysis/transfer-stl10.json"
    found(folder, "transfer-stl10", mapped_accuracy=37.2, mapped_by="file")
    each = {each.number.name: each for each in comparisons(chapter.subjects[0])}["stl10_accuracy"]
    assert each.verdict == "not measured"


def test_the_mean_over_seeds_is_judged(runs):
    chapter = chapters(list(runs.values()))[0]
    section = beside_papers(chapter, verdicts=True)
    table = section.parts[-1]
    row = next(row for row in table.rows if row.cells[0] == "dgl")
    assert row.cells[2:5] == ("14.08", "15.00 ± 1.00", "+0.92") and row.cells[5] is Verdict.CLOSE
    assert "verdict" not in beside_papers(chapter, verdicts=False).parts[-1].columns


def test_numbers_are_those_of_the_package_and_not_of_the_run_s_own_copy(tmp_path):
    printed = [{"name": "test_error", "value": 50.0, "paper": "none"}]
    each = compared(tmp_path / "run", RECIPE, 50.0, published=printed)["test_error"]
    assert (each.number.value, each.verdict) == (load(RECIPE).published[0].value, "not")
