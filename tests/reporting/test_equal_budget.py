"""Comparisons at equal cost, against a search by hand."""

from __future__ import annotations

import pytest

from locallearn.analysis import opened_all
from locallearn.reporting.equal_budget import budgets, equal_budgets, in_time
from locallearn.reporting.subjects import chapters
from reporting.made_runs import found, made_run

FAST, SLOW = [50.0, 40.0, 30.0, 20.0, 10.0, 9.0], [45.0, 35.0, None, 15.0]


@pytest.fixture
def chapter(tmp_path):
    fast = made_run(tmp_path / "fast", "digits", FAST, seconds=2.0, method={"name": "dgl"})
    slow = made_run(tmp_path / "slow", "digits", SLOW, seconds=5.0, method={"name": "predsim"})
    return chapters(opened_all([fast, slow]))[0]


def by_hand(errors, cost_per_epoch, budget):
    best = None
    for epoch, error in enumerate(errors, 1):
        if error is not None and epoch * cost_per_epoch <= budget:
            best = (error, (epoch,))
    return best


def test_every_run_shows_its_last_epoch_within_the_cheapest_run_s_cost(chapter):
    fast, slow = chapter.runs
    by_axis = {budget.axis: budget for budget in budgets(chapter, {fast: 7 * 10**9, slow: 10**10})}
    expected = {"epochs": (1, 1, 4), "flops": (7e10, 1e11, 4e11), "seconds": (2.0, 5.0, 12.0)}
    for axis, (fast_cost, slow_cost, limit) in expected.items():
        assert by_axis[axis].limit == pytest.approx(limit)
        values = [(mean.value, epochs) for mean, epochs in by_axis[axis].found]
        assert values == [by_hand(FAST, fast_cost, limit), by_hand(SLOW, slow_cost, limit)]
    assert [by_axis["flops"].found[0][1], by_axis["seconds"].found[1][1]] == [(5,), (2,)]


def test_a_budget_is_kept_to_the_last_operation(chapter):
    fast, slow = chapter.runs
    for more, epoch in ((0, 4), (1, 3)):
        by_axis = {budget.axis: budget for budget in budgets(chapter, {fast: 10**10 + more, slow: 10**10})}
        assert by_axis["flops"].found[0][1] == (epoch,)


def test_what_is_not_known_of_all_runs_is_not_shown(chapter):
    fast, slow = chapter.runs
    (slow.path / "timings.jsonl").unlink()
    assert [budget.axis for budget in budgets(chapter, {fast: 5, slow: None})] == ["epochs"]
    section = equal_budgets(chapter, {})
    assert "equal FLOPs, equal time" in section.parts[1].text
    assert section.parts[2].columns == ("run", "equal epochs: 4 epochs")


def test_rows_name_their_files(chapter):
    for run in chapter.runs:
        found(run.path, "curves", settings={"flops_per_step": 10**9})
    section = equal_budgets(chapter, dict.fromkeys(chapter.runs, 10**9))
    table = section.parts[-1]
    assert {source.file for source in table.rows[0].sources} == {
        "metrics.jsonl",
        "timings.jsonl",
        "analysis/curves.json",
    }
    assert {source.folder for source in table.rows[1].sources} == {str(chapter.runs[1].path)}
    assert table.rows[0].cells[1] == "20.00 (4)"


def test_one_epoch_is_no_plural(tmp_path):
    (chapter,) = chapters(opened_all([made_run(tmp_path / "run", "digits", [5.0])]))
    assert [str(budget) for budget in budgets(chapter, {})] == ["equal epochs: 1 epoch", "equal time: 2.0 s"]


def test_times_for_people():
    told = [in_time(seconds) for seconds in (119.0, 120.0, 7140.0, 7200.0)]
    assert told == ["119.0 s", "2.0 min", "119.0 min", "2.0 h"]


def test_a_run_under_way_sets_no_budget(tmp_path):
    whole = made_run(tmp_path / "whole", "digits", FAST, method={"name": "dgl"})
    begun = made_run(tmp_path / "begun", "digits", [60.0], finished=False, method={"name": "predsim"})
    (both,) = chapters(opened_all([whole, begun]))
    (epochs, *_) = budgets(both, {})
    assert (epochs.limit, [each.value for each, _ in epochs.found]) == (6, [9.0, 60.0])
    (alone,) = chapters(opened_all([begun]))
    assert budgets(alone, {})[0].limit == 1
