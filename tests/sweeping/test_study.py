from __future__ import annotations

import sys

import pytest

from locallearn.errors import InputError
from locallearn.sweeping.study import opened, proposed, record, rows

SEARCH = {
    "training.lr": {"low": 0.01, "high": 1.0, "log": True},
    "training.batch_size": {"low": 16, "high": 64, "step": 16},
    "method.head": {"choices": ["linear", "auglocal"]},
}


def drawn(study, sweep, count):
    found = []
    for number in range(count):
        values = proposed(sweep, study.get_trials())
        score = None if number == 2 else -abs(values["training.lr"] - 0.1)
        record(study, sweep, values, {"trial": number}, score=score)
        found.append(values)
    return found


def test_the_same_history_draws_the_same_values(sweep, tmp_path):
    wanted = sweep(search=SEARCH, trials=14)
    with opened(tmp_path / "one.sqlite") as study:
        straight = drawn(study, wanted, 14)
        assert rows(study) == [{"trial": number} for number in range(14)]
        assert [trial.state.name for trial in study.get_trials()].count("FAIL") == 1
    with opened(tmp_path / "other.sqlite") as study:
        first = drawn(study, wanted, 12)
    with opened(tmp_path / "other.sqlite") as study:
        assert len(study.get_trials()) == 12
        assert first == straight[:12] and proposed(wanted, study.get_trials()) == straight[12]
    assert proposed(wanted.model_copy(update={"seed": 1}), []) != straight[0]


def test_what_did_well_is_drawn_more_often(sweep, tmp_path):
    wanted = sweep(search={"training.lr": {"low": 0.0, "high": 1.0}}, trials=1)
    found = {}
    for best in (0.1, 0.9):
        with opened(tmp_path / f"{best}.sqlite") as study:
            for place in range(20):
                record(study, wanted, {"training.lr": place / 20}, {}, score=-abs(place / 20 - best))
            found[best] = proposed(wanted, study.get_trials())["training.lr"]
    assert found[0.1] < 0.4 and found[0.9] > 0.6


def test_values_are_of_the_kinds_asked_for(sweep, tmp_path):
    with opened(tmp_path / "study.sqlite") as study:
        found = drawn(study, sweep(search=SEARCH, trials=12), 12)
    for values in found:
        assert list(values) == list(SEARCH)
        assert 0.01 <= values["training.lr"] <= 1.0 and values["training.batch_size"] in (16, 32, 48, 64)
        assert isinstance(values["training.batch_size"], int) and values["method.head"] in ("linear", "auglocal")
    assert len({values["training.lr"] for values in found}) == 12


def test_lists_are_values_of_a_grid(sweep, tmp_path):
    wanted = sweep(grid={"training.schedule.milestones": [[1], [1, 2]]})
    with opened(tmp_path / "study.sqlite") as study:
        record(study, wanted, {"training.schedule.milestones": [1, 2]}, {"trial": 0}, score=1.0)
        assert study.best_trial.params == {"training.schedule.milestones": "[1, 2]"}


def test_a_file_that_is_no_study(tmp_path):
    (tmp_path / "study.sqlite").write_text("not a database, and long enough to be seen as none" * 100)
    with pytest.raises(InputError, match="cannot be used as a study"), opened(tmp_path / "study.sqlite"):
        pass


def test_without_optuna(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    told = r"A sweep needs optuna: pip install 'locallearn\[sweep\]'"
    with pytest.raises(InputError, match=told), opened(tmp_path / "study.sqlite"):
        pass
