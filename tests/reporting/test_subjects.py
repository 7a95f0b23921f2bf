"""Which runs are joined, and which are kept apart."""

from __future__ import annotations

import pytest

from locallearn.analysis import opened_all
from locallearn.errors import InputError
from locallearn.reporting.subjects import chapters, checked_runs
from reporting.made_runs import CLASSES, made_run


def test_seeds_are_joined_and_data_sets_kept_apart(runs):
    first, second = chapters(list(runs.values()))
    assert (first.title, second.title) == ("CIFAR-10", "Street View House Numbers")
    assert first.score == second.score == "accuracy"
    labels = [(subject.label, len(subject.runs), subject.is_finished) for subject in first.subjects]
    assert labels == [("dgl", 3, True), ("backprop", 1, True), ("dgl+man_code, unfinished", 1, False)]
    assert len(second.subjects) == 1 and len(first.runs) == 5


def test_other_classes_of_one_data_set_are_kept_apart(tmp_path):
    few = made_run(tmp_path / "few", "digits", [3.0], classes=CLASSES["digits"][:5])
    all_ten = made_run(tmp_path / "all", "digits", [3.0])
    found = chapters(opened_all([few, all_ten]))
    assert [chapter.title.partition(", ")[2][:9] for chapter in found] == ["5 classes", "10 classe"]


def test_a_run_under_way_does_not_join_finished_seeds(tmp_path):
    folders = [made_run(tmp_path / f"seed{seed}", "digits", [3.0], seed=seed, finished=seed != 1) for seed in range(3)]
    (chapter,) = chapters(opened_all(folders))
    assert [len(subject.runs) for subject in chapter.subjects] == [2, 1]
    assert len({subject.label for subject in chapter.subjects}) == 2


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ([{"partition": {"num_blocks": 4}}, {"partition": {"num_blocks": 8}}], ["dgl, K=4", "dgl, K=8"]),
        ([{"training": {"lr": 0.1}}, {"training": {"lr": 0.3}}], ["dgl, lr 0.1", "dgl, lr 0.3"]),
        ([{"network": {"name": "resnet20"}}, {"network": {"name": "resnet32"}}], ["dgl, resnet20", "dgl, resnet32"]),
        ([{"method": {"name": "dgl"}}, {"method": {"name": "predsim"}}], ["dgl", "predsim"]),
        ([{"training": {"lr": 0.3, "epochs": 2, "batch_size": 8}}, {}], ["dgl, run0", "dgl, run1"]),
        ([{"device": "cpu"}, {"device": "auto"}], ["dgl, device cpu", "dgl, device auto"]),
    ],
)
def test_runs_are_called_by_what_tells_them_apart(tmp_path, changes, labels):
    folders = [made_run(tmp_path / f"run{n}", "digits", [3.0], **change) for n, change in enumerate(changes)]
    (chapter,) = chapters(opened_all(folders))
    assert [subject.label for subject in chapter.subjects] == labels


def test_folders_of_one_name_are_still_told_apart(tmp_path):
    folders = [
        made_run(
            tmp_path / where / "run", "digits", [3.0], training={"lr": lr, "epochs": epochs, "batch_size": 8 * epochs}
        )
        for where, lr, epochs in (("a", 0.1, 2), ("b", 0.2, 3))
    ]
    (chapter,) = chapters(opened_all(folders))
    assert [subject.label for subject in chapter.subjects] == ["dgl, a/run", "dgl, b/run"]


def test_the_same_draw_again_is_no_further_seed(tmp_path):
    again = made_run(tmp_path / "again", "digits", [3.0])
    (chapter,) = chapters(opened_all([made_run(tmp_path / "once", "digits", [4.0]), again]))
    assert [(subject.label, len(subject.runs)) for subject in chapter.subjects] == [("dgl, once", 1), ("dgl, again", 1)]


def test_damaged_files_are_told_all_at_once(tmp_path):
    one, other = (made_run(tmp_path / name, "digits", [3.0, 2.0]) for name in ("one", "other"))
    (one / "metrics.jsonl").write_text('{"epoch": 1, "st')
    (other / "summary.json").write_text("")
    (other / "analysis").mkdir()
    (other / "analysis" / "probe.json").write_text("[")
    with pytest.raises(InputError) as told:
        checked_runs(opened_all([one, other]))
    assert [word in str(told.value) for word in ("metrics.jsonl of", "summary.json of", "analysis/")] == [True] * 3
    with pytest.raises(InputError, match="no run yet"):
        checked_runs([])
