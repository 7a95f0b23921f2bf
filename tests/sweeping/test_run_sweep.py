from __future__ import annotations

import json
import os
import signal
import statistics

import pytest

from locallearn.analysis.trained_run import opened_all
from locallearn.errors import InputError, TrainingStopped
from locallearn.recipes import save
from locallearn.sweeping import run_sweep as module
from locallearn.sweeping import study as studies
from locallearn.sweeping import sweep_table
from locallearn.sweeping.check import check_points
from locallearn.sweeping.points import bases, points
from locallearn.sweeping.run_sweep import run_sweep, stored
from locallearn.sweeping.sweep_file import checked
from locallearn.training import Silent
from training.tiny_runs import SignalAt, in_child, recipe

KINDS = {
    "grid": {"grid": {"training.lr": [0.05, 0.2]}},
    "search": {
        "search": {
            "training.lr": {"low": 0.01, "high": 0.5, "log": True},
            "training.batch_size": {"choices": [100, 200]},
        },
        "trials": 2,
    },
}


class Signals:
    """Makes what runs show; the run of one trial sends a signal."""

    def __init__(self, trial, step, number):
        self.trial, self.step, self.number, self.made = trial, step, number, -1

    def __call__(self):
        self.made += 1
        return SignalAt(self.step, self.number) if self.made == self.trial else Silent()


def plain(folder):
    """A sweep's table without what differs from folder to folder."""
    return json.loads((folder / "sweep.json").read_text())


def lines(folder):
    return [(path.parent.name, path.read_text()) for path in sorted(folder.glob("trial-*/metrics.jsonl"))]


def test_every_point_is_an_ordinary_run_and_a_row(sweep, tmp_path):
    wanted = sweep(grid={"training.lr": [0.05, 0.2], "method.head": ["linear", "auglocal"]}, set={"training.epochs": 1})
    table = run_sweep(wanted, tmp_path / "out")
    assert table.is_finished and table.score == "validation_accuracy" and table.axis is None
    assert [tuple(row["values"].values()) for row in table.rows] == [
        (0.05, "linear"), (0.05, "auglocal"), (0.2, "linear"), (0.2, "auglocal"),
    ]  # fmt: skip
    runs = opened_all([row["run"] for row in table.rows])
    for row, run, point in zip(table.rows, runs, points(wanted, bases(wanted)), strict=True):
        assert run.is_finished and run.recipe == point.recipe and run.name == f"trial-{row['trial']:04d}"
        last = run.metrics[-1]
        assert row["score"] == row["validation_accuracy"] == last["validation_accuracy"]
        assert row["test_accuracy"] == last["test_accuracy"]
        assert row["test_error"] == round(100 - last["test_accuracy"], 10)
        assert row["peak_bytes"] == 1000 and row["state"] == "finished" and row["reason"] is None
    assert table.best == max(range(4), key=lambda place: table.rows[place]["validation_accuracy"])
    assert table == sweep_table(tmp_path / "out") and stored(tmp_path / "out") == wanted
    with studies.opened(tmp_path / "out" / "sweep.sqlite") as study:
        assert [trial.value for trial in study.get_trials()] == [row["score"] for row in table.rows]
        assert study.best_trial.number == table.best


def test_the_last_epoch_counts_and_not_the_best_one(sweep, tmp_path):
    table = run_sweep(sweep(grid={"training.lr": [0.05]}, set={"training.epochs": 3}), tmp_path / "out")
    (run,) = opened_all([table.rows[0]["run"]])
    assert table.rows[0]["score"] == run.metrics[-1]["validation_accuracy"]
    assert [record["epoch"] for record in run.metrics] == [1, 2, 3]


def test_several_seeds_are_averaged(sweep, tmp_path):
    table = run_sweep(sweep(grid={"training.lr": [0.05]}, seeds=3, set={"training.epochs": 1}), tmp_path / "out")
    runs = opened_all([table.rows[0]["run"]])
    scores = [run.metrics[-1]["validation_accuracy"] for run in runs]
    assert [run.recipe.seed for run in runs] == [3, 4, 5] and len(set(scores)) > 1
    assert table.rows[0]["score"] == pytest.approx(sum(scores) / 3, abs=1e-9)
    assert table.rows[0]["deviations"]["validation_accuracy"] == pytest.approx(statistics.stdev(scores), abs=1e-9)


@pytest.fixture(scope="module")
def straight(base, tmp_path_factory):
    """Folders of sweeps that nothing stopped, by kind."""
    folders = {}
    for kind, tables in KINDS.items():
        folders[kind] = tmp_path_factory.mktemp(kind) / "out"
        run_sweep(checked({"title": "tiny", "recipe": base, **tables}, where=kind), folders[kind])
    return folders


@pytest.mark.parametrize(
    ("kind", "number"),
    [("grid", signal.SIGKILL), ("grid", signal.SIGTERM), ("grid", signal.SIGINT), ("search", signal.SIGKILL)],
)
def test_stopped_in_its_second_trial_it_ends_with_the_same_bits(sweep, straight, tmp_path, kind, number):
    wanted, out, straight = sweep(**KINDS[kind]), tmp_path / "out", straight[kind]
    code = in_child(lambda: run_sweep(wanted, out, progress=Signals(1, 5, number)))
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    table = sweep_table(out)
    assert not table.is_finished and len(table.rows) == 1 and table.trials == 2
    checkpoints = {path.name for path in (out / "trial-0001" / "checkpoints").iterdir()}
    assert len(checkpoints) > 0
    first = (out / "trial-0000" / "network.safetensors").stat().st_mtime_ns
    begun = []

    class Heard(Silent):
        def begin(self, title, *, done, steps):
            begun.append(done)

    run_sweep(wanted, out, resume=True, progress=Heard)
    assert begun == [3 if number == signal.SIGKILL else 5]
    assert (out / "trial-0000" / "network.safetensors").stat().st_mtime_ns == first
    assert plain(out) == plain(straight) and lines(out) == lines(straight)
    for trial in ("trial-0000", "trial-0001"):
        assert (out / trial / "network.safetensors").read_bytes() == (
            straight / trial / "network.safetensors"
        ).read_bytes()


def test_killed_between_a_run_and_its_row(sweep, tmp_path, monkeypatch):
    wanted, out = sweep(set={"training.epochs": 1}), tmp_path / "out"

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    def killed():
        monkeypatch.setattr(studies, "record", die)
        run_sweep(wanted, out)

    assert in_child(killed) == -9
    assert sweep_table(out).rows == () and (out / "trial-0000" / "summary.json").is_file()
    begun = []

    class Heard(Silent):
        def begin(self, title, *, done, steps):
            begun.append(title)

    table = run_sweep(wanted, out, resume=True, progress=Heard)
    assert len(begun) == 1 and [row["trial"] for row in table.rows] == [0, 1]


def test_a_finished_sweep_is_left_as_it_is_and_a_search_can_be_prolonged(sweep, tmp_path):
    tables = {"search": {"training.lr": {"low": 0.01, "high": 0.5}}, "set": {"training.epochs": 1}}
    out = tmp_path / "out"
    first = run_sweep(sweep(**tables, trials=1), out)
    assert run_sweep(sweep(**tables, trials=1), out, resume=True) == first
    longer = run_sweep(sweep(**tables, trials=3), out, resume=True)
    assert longer.rows[:1] == first.rows and len(longer.rows) == 3 and stored(out).trials == 3
    straight = run_sweep(sweep(**tables, trials=3), tmp_path / "straight")
    assert [row["values"] for row in straight.rows] == [row["values"] for row in longer.rows]


def test_a_trial_that_diverges_fails_and_the_others_are_made(sweep, tmp_path):
    told = []
    wanted = sweep(grid={"training.lr": [1e30, 0.05]}, set={"training.schedule.name": "constant"})
    table = run_sweep(wanted, tmp_path / "out", note=told.append)
    bad, good = table.rows
    assert bad["state"] == "failed" and bad["score"] is None and "NaN or infinite" in bad["reason"]
    assert good["state"] == "finished" and table.best == 1 and table.is_finished
    assert any(line.startswith("trial 1 failed") for line in told)
    again = run_sweep(wanted, tmp_path / "out", resume=True)
    assert again == table


def test_drawn_values_that_do_not_go_together_fail_and_the_search_goes_on(sweep, tmp_path):
    search = {"training.batch_size": {"choices": [100, 200]}}
    wanted = sweep(search=search, trials=2, set={"training.epochs": 1})
    calls = []
    real = module.searched

    def refusing(sweep, known, values):
        calls.append(values)
        if len(calls) == 1:
            raise InputError("these do not go together")
        return real(sweep, known, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "searched", refusing)
        table = run_sweep(wanted, tmp_path / "out")
    assert [row["state"] for row in table.rows] == ["failed", "finished"]
    assert table.rows[0]["reason"] == "these do not go together"


def test_a_full_disk_stops_the_sweep_and_fails_no_trial(sweep, tmp_path, monkeypatch):
    def full(*_, **__):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise TrainingStopped("Results could not be written") from error

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_seeds", full)
        with pytest.raises(TrainingStopped):
            run_sweep(sweep(), tmp_path / "out")
    assert sweep_table(tmp_path / "out").rows == ()


def test_nothing_is_trained_if_any_trial_is_refused(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "train_seeds", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(InputError) as caught:
        run_sweep(sweep(grid={"training.lr": [0.1, -1.0], "training.epochs": [1, 0]}), tmp_path / "out")
    assert "training.lr = -1.0" in str(caught.value) and "training.epochs = 0" in str(caught.value)
    batches = {"training.batch_size": [200, 574]}
    with pytest.raises(InputError, match=r"batch_size = 574: 1149 training images in batches of 574 leave one"):
        run_sweep(sweep(grid=batches), tmp_path / "out")
    without_rest = sweep(grid=batches, set={"training.drop_last": True})
    check_points(without_rest, points(without_rest, bases(without_rest)))
    cuts = {"partition.num_blocks": [2, 50, 60]}
    with pytest.raises(InputError) as caught:
        run_sweep(sweep(grid=cuts), tmp_path / "out")
    told = str(caught.value)
    assert "Nothing was trained" in told and "num_blocks = 50: " in told and "num_blocks = 60: " in told
    assert not (tmp_path / "out").exists()


def test_comparing_by_test_images_must_be_said(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "train_seeds", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(InputError, match=r'"dataset.validation" = 0.1 under \[set\]') as caught:
        run_sweep(sweep(set={"dataset.validation": 0.0}), tmp_path / "out")
    assert str(caught.value).count("held out") == 1
    with pytest.raises(pytest.fail.Exception):
        run_sweep(sweep(set={"dataset.validation": 0.0}, score="test"), tmp_path / "out")


def test_by_test_images(sweep, tmp_path):
    table = run_sweep(
        sweep(grid={"training.lr": [0.05]}, set={"dataset.validation": 0.0, "training.epochs": 1}, score="test"),
        tmp_path / "out",
    )
    assert table.score == "test_accuracy" and table.rows[0]["score"] == table.rows[0]["test_accuracy"]
    assert "validation_accuracy" not in table.rows[0]


def test_folders_that_cannot_be_used(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "train_seeds", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(InputError, match=r"holds no sweep \(sweep\.toml is missing\)"):
        run_sweep(sweep(), tmp_path / "none", resume=True)
    with pytest.raises(pytest.fail.Exception):
        run_sweep(sweep(), tmp_path / "out")
    with pytest.raises(InputError, match="already holds a sweep: go on with it by --resume"):
        run_sweep(sweep(), tmp_path / "out")
    with pytest.raises(InputError, match=r"training.lr is \(0.05,\), but the sweep there has \(0.05, 0.2\)") as caught:
        run_sweep(sweep(grid={"training.lr": [0.05]}, seeds=2), tmp_path / "out", resume=True)
    assert "seeds is 2, but the sweep there has 1" in str(caught.value)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="is no empty folder"):
        run_sweep(sweep(), tmp_path / "full")
    with pytest.raises(InputError, match=r"holds no sweep \(sweep\.json is missing\)"):
        sweep_table(tmp_path / "full")


def test_a_recipe_that_was_changed_meanwhile_is_refused(tmp_path, sweep, monkeypatch):
    monkeypatch.setattr(module, "train_seeds", lambda *_, **__: pytest.fail("trained"))
    path = tmp_path / "own.toml"
    save(recipe(dataset={"validation": 0.2}), path)
    with pytest.raises(pytest.fail.Exception):
        run_sweep(sweep(recipe=str(path)), tmp_path / "out")
    save(recipe(dataset={"validation": 0.2}, training={"epochs": 5}), path)
    with pytest.raises(InputError, match=r"training\.epochs is 5, but the run there has 2"):
        run_sweep(sweep(recipe=str(path)), tmp_path / "out", resume=True)


def test_published_numbers_stand_in_the_rows(tmp_path, sweep, monkeypatch):
    path = tmp_path / "printed.toml"
    numbers = [{"name": "test_error", "value": 9.0}, {"name": "test_error", "value": 8.0}]
    tiny = recipe(
        dataset={"validation": 0.2},
        training={"epochs": 1},
        published=[*numbers, {"name": "backprop_test_error", "value": 5.0}],
    )
    save(tiny, path)
    cases = [{"name": "as printed"}, {"name": "other", "set": {"training.lr": 0.1}}]
    table = run_sweep(sweep(recipe=str(path), case=cases), tmp_path / "out")
    assert [row["published"] for row in table.rows] == [{"test_error": 9.0}, {}]
    assert table.axis == "training.lr" and [row["values"] for row in table.rows] == [
        {"case": "as printed", "training.lr": 0.05},
        {"case": "other", "training.lr": 0.1},
    ]
