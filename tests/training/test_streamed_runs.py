"""Runs on samples that are read one by one, by a task that labels pixels."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import tomllib
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from locallearn.cli.compare import resolve as comparison
from locallearn.cli.main import main
from locallearn.cli.runs import print_result
from locallearn.cli.train import resolve
from locallearn.datasets import load, registry
from locallearn.datasets.batching import augmented, evaluation_batches, training_batches
from locallearn.datasets.check import check
from locallearn.errors import InputError, TrainingStopped
from locallearn.recipes import checked, dumped
from locallearn.recipes.choices import augmentation_fields
from locallearn.tasks.segmentation import Segmentation
from locallearn.training import evaluate, load_network, run_folder, train
from locallearn.training.assembly import assemble
from locallearn.training.optimizer_step import OptimizerStep
from locallearn.training.step_cost import step_cost as counted
from locallearn.training.step_cost import time_ratios
from training import tiny_maps
from training.test_resume import assert_same
from training.tiny_maps import SPEC, mapper, mapping
from training.tiny_runs import Heard, SignalAt, in_child


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    heard = Heard()
    return out, train(mapping(training={"checkpoint_every_steps": 3}), out, progress=heard), heard


def test_a_run_is_scored_by_its_tasks_metric(finished):
    out, summary, heard = finished
    network = mapper(3)
    assert load_network(network, out / "network.safetensors") == tiny_maps.CLASSES
    test = evaluation_batches(load("tiny_maps").test, 5, spec=SPEC, device=torch.device("cpu"))
    results = evaluate(network, test, Segmentation(3).metric())
    assert summary.score == "mean_iou" and summary.test_score == results["mean_iou"]
    stored = json.loads((out / "summary.json").read_text())
    assert {name: stored[f"test_{name}"] for name in results} == results
    assert stored["best_test_mean_iou"] == max(record["test_mean_iou"] for record in heard.records)
    assert "test_accuracy" not in stored and "test_error" not in stored
    assert stored["best_validation_epoch"] in (1, 2)
    record = heard.records[0]
    assert 0 < record["train_accuracy"] < 100 and record["validation_mean_iou"] > 0
    assert all(0 < block["accuracy"] < 100 for block in record["blocks"])


@pytest.mark.filterwarnings("ignore:trained on and tested on")
def test_what_the_data_set_warned_of_stands_beside_the_result(tmp_path, monkeypatch, capsys):
    opened = tiny_maps.open_splits

    def warning(*given, **options):
        warnings.warn("trained on and tested on", stacklevel=2)
        return opened(*given, **options)

    monkeypatch.setattr(tiny_maps, "open_splits", warning)
    summary = train(mapping(training={"epochs": 1}), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["notes"] == ["trained on and tested on"]
    print_result(summary.as_dict())
    assert "note" in (told := capsys.readouterr().out) and "trained on and tested on" in told


def test_what_is_learned_is_learned(tmp_path):
    summary = train(mapping(training={"epochs": 12}), tmp_path / "run")
    assert summary.test_score > 90


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_streamed_runs_are_bit_identical(finished, tmp_path, workers):
    made, out = mapping(workers=workers, training={"checkpoint_every_steps": 3}), tmp_path / "run"
    assert in_child(lambda: train(made, out, progress=SignalAt(11, signal.SIGKILL))) == -signal.SIGKILL
    assert in_child(lambda: train(made, out, resume=True)) == 0
    assert_same(out, finished[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_saves_a_streamed_run_and_it_resumes_bit_identical(finished, tmp_path, workers):
    made, out = mapping(workers=workers, training={"checkpoint_every_steps": 3}), tmp_path / "run"
    assert in_child(lambda: train(made, out, progress=SignalAt(5))) == 143
    assert in_child(lambda: train(made, out, resume=True)) == 0
    assert_same(out, finished[0])


def test_a_run_ends_after_its_steps_and_is_evaluated(tmp_path):
    heard = Heard()
    made = mapping(training={"epochs": 50, "max_steps": 10})
    summary = train(made, tmp_path / "run", progress=heard)
    assert (summary.steps, summary.epochs, heard.steps) == (10, 2, list(range(1, 11)))
    assert [record["step"] for record in heard.records] == [7, 10]
    assert heard.titles[0].endswith("2 epochs, seed 3")
    assert all(record["test_mean_iou"] is not None for record in heard.records)
    rate = heard.records[-1]["learning_rates"]["blocks"]
    assert rate == pytest.approx((0.05 - 1e-4) * (1 - 9 / 10) ** 0.9 + 1e-4)
    again = train(made, tmp_path / "run", resume=True)
    assert again == summary


def test_a_run_stopped_in_its_shortened_epoch_resumes_bit_identical(tmp_path):
    made = mapping(training={"epochs": 50, "max_steps": 10})
    train(made, tmp_path / "straight")
    for step in (9, 10):
        out = tmp_path / f"stopped{step}"
        with pytest.raises(SystemExit):
            train(made, out, progress=SignalAt(step))
        train(made, out, resume=True)
        assert_same(out, tmp_path / "straight")


def test_more_steps_than_the_epochs_have_change_nothing(tmp_path):
    assert train(mapping(training={"epochs": 1, "max_steps": 100}), tmp_path / "run").steps == 7


def test_a_last_batch_is_dropped(tmp_path):
    heard = Heard()
    train(mapping(training={"epochs": 1, "drop_last": True, "accumulate": 4}), tmp_path / "run", progress=heard)
    assert heard.steps == [1, 2]
    parts = assemble(mapping(training={"drop_last": True}))
    assert (len(parts.train), parts.train.count, parts.test.count) == (6, 24, 9)


def test_a_last_batch_of_one_can_be_dropped():
    with pytest.raises(
        InputError, match=r"26 training images in batches of 5 .*or leave that batch out by --training\."
    ):
        assemble(mapping(training={"batch_size": 5}))
    assemble(mapping(training={"batch_size": 5, "drop_last": True}))


def test_accumulated_streamed_batches_count_by_their_images(tmp_path, monkeypatch):
    shares, add = [], OptimizerStep.add
    monkeypatch.setattr(
        OptimizerStep,
        "add",
        lambda self, x, y, share, last: (shares.append(share), add(self, x, y, share, last=last))[1],
    )
    train(mapping(training={"epochs": 1, "accumulate": 7}), tmp_path / "run")
    assert shares == [4 / 26] * 6 + [2 / 26]


def test_heads_that_the_task_replaces_are_not_chosen():
    assert mapping(method={"name": "dgl", "head": "auglocal"}).method.options["head"] == "auglocal"
    for method, key in (
        ({"name": "dgl", "head": "linear"}, "method.head"),
        ({"name": "dgl", "tokens": "class"}, "method.tokens"),
        ({"name": "dgl+man", "base": {"head": "man"}}, "method.base.head"),
    ):
        with pytest.raises(InputError, match=rf"{key} chooses heads .* tiny_maps is for segmentation"):
            checked(mapping().model_dump() | {"method": method}, where="r")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--on", "stl10", "--scales", "0.5", "--flip", "--workers", "1"],
            "leave --scales and --flip and --workers out",
        ),
        (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["--workers", "-1"], "--workers must be at least 0, not -1"),
    ],
)
def test_evaluate_refuses_flags_that_would_do_nothing(flags, words, finished, capsys):
    assert main(["evaluate", str(finished[0]), *flags]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_compare_refuses_every_method_that_does_not_fit_before_it_trains(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("locallearn.training.train_seeds", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr("locallearn.cli.compare.load", lambda _: mapping())
    out = tmp_path / "out"
    argv = ["compare", "maps", "--out", str(out)]
    assert main([*argv, "--methods", "dgl", "predsim", "infopro"]) == 2
    told = capsys.readouterr().err
    assert "Nothing was trained" in told and "predsim: " in told and "infopro: " in told and "dgl: " not in told
    assert not out.exists()
    assert comparison(["maps"])[0].methods == ("backprop", "dgl", "dgl+man")


def test_compare_keeps_its_scores_where_steps_cannot_be_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("locallearn.cli.compare.load", lambda _: mapping(training={"epochs": 1}))
    out, written = tmp_path / "out", []

    def fails(_, spec):
        written.append(json.loads((out / "compare.json").read_text()))
        raise RuntimeError("no room to measure")

    monkeypatch.setitem(
        sys.modules, "locallearn.training.step_cost", SimpleNamespace(step_cost=fails, time_ratios=fails)
    )
    assert main(["compare", "maps", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "note: the step of dgl+man could not be measured: no room to measure" in told.err
    rows = json.loads((out / "compare.json").read_text())["methods"]
    assert [row["method"] for row in rows] == ["backprop", "dgl", "dgl+man"]
    assert all(row["test_mean_iou"] > 0 and row["peak_bytes"] is row["time_ratio"] is None for row in rows)
    assert all("test_mean_iou" in row for row in written[0]["methods"])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_cannot_be_read_stops_the_run_with_its_name(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(tiny_maps, "BROKEN", 3)
    with pytest.raises(TrainingStopped) as stopped:
        train(mapping(workers=workers), tmp_path / "run")
    assert str(stopped.value).startswith("/data/3.png cannot be decoded: put the original back.")
    assert "Traceback" not in str(stopped.value) and "checkpoint" in str(stopped.value)


def test_an_evaluation_that_fails_costs_no_epoch(tmp_path, monkeypatch, finished):
    made, out = mapping(training={"checkpoint_every_steps": 3}), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(tiny_maps, "BROKEN_TEST", 7)
        for resume in (False, True):
            heard = Heard()
            with pytest.raises(TrainingStopped, match=r"/data/7\.png cannot be decoded.*step-00000007"):
                train(made, out, resume=resume, progress=heard)
            assert heard.steps == ([] if resume else list(range(1, 8)))
    train(made, out, resume=True)
    assert_same(out, finished[0])


def test_test_images_of_different_sizes_are_scored_one_size_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_maps, "RAGGED", True)
    out = tmp_path / "run"
    summary = train(mapping(training={"epochs": 1}), out)
    network, maps, metric = mapper(3), load("tiny_maps").test, Segmentation(3).metric()
    load_network(network, out / "network.safetensors")
    assert len({image.shape for image, _ in (maps[index] for index in range(len(maps)))}) == 2
    with torch.no_grad():
        for image, target in (SPEC.augmentation.testing(SPEC)(*maps[index]) for index in range(len(maps))):
            metric.update(network.eval()(image[None]), target[None])
    assert summary.test_score == pytest.approx(metric.results()["mean_iou"])


def test_no_worker_is_left_behind(tmp_path):
    train(mapping(workers=2, training={"epochs": 1}), tmp_path / "run")
    with pytest.raises(SystemExit):
        train(mapping(workers=2), tmp_path / "stopped", progress=SignalAt(3))
    assert multiprocessing.active_children() == []


def test_the_recipes_augmentation_is_checked_by_its_fields():
    made = mapping(augmentation={"crop": [6, 8], "noise": 1})
    assert made.dataset.augmentation.over(SPEC.augmentation) == tiny_maps.Noise((6, 8), 1.0)
    assert checked(tomllib.loads(dumped(made)), where="dumped") == made
    tables = made.model_dump()
    tables["dataset"]["augmentation"] = {"corp": [6, 8], "noise": "much", "crop": [6, "x"]}
    tables["training"]["lr"] = -1
    with pytest.raises(InputError) as caught:
        checked(tables, where="r")
    for words in (
        "dataset.augmentation.corp is not a key of this section. Did you mean 'crop'? The keys there are crop, noise.",
        "dataset.augmentation.noise = 'much' must be a valid number.",
        "dataset.augmentation.crop[1] = 'x' must be a valid integer.",
        "training.lr = -1 must be greater than 0.",
    ):
        assert words in str(caught.value)
    tables = made.model_dump() | {"dataset": {"name": "tiny_maps", "augmentation": {"noise": -1.0}}}
    with pytest.raises(
        InputError, match=r"dataset\.augmentation\.noise: augmentation\.noise must be at least 0, not -1\.0\."
    ):
        checked(tables, where="r")
    assert resolved_shades(["--dataset.augmentation.crop", "4", "6"]).options == {"crop": (4, 6)}


def resolved_shades(flags):
    return resolve(["digits", "--dataset.name", "tiny_maps", *flags])[1].dataset.augmentation


def test_flags_are_those_of_the_data_set_that_is_asked_for():
    assert resolved_shades(["--dataset.augmentation.noise", "2"]).options == {"noise": 2.0}
    with pytest.raises(InputError, match="Unrecognized"):
        resolved_shades(["--dataset.augmentation.pad", "2"])
    assert augmentation_fields("tiny_maps").model_fields["noise"].description == (
        "Deviation of what is added, in pixels of 0 to 255."
    )


def test_the_shape_follows_the_augmentation():
    made = mapping(augmentation={"crop": [6, 8]})
    before = torch.get_rng_state()
    spec = augmented(SPEC, made.dataset.augmentation.over(SPEC.augmentation))
    assert torch.equal(torch.get_rng_state(), before)
    assert (spec.shape, augmented(SPEC, SPEC.augmentation)) == ((3, 6, 8), SPEC)
    parts = assemble(made)
    assert parts.spec == spec and next(parts.train.epoch(0))[0].shape == (4, 3, 6, 8)
    assert next(parts.test.epoch(0))[0].shape == (4, 3, 10, 14)
    assert counted(made, None).peak_bytes < counted(mapping()).peak_bytes


def test_samples_and_images_take_their_own_kind_of_augmentation():
    maps, digits = load("tiny_maps").train, load("digits")
    with pytest.raises(InputError, match=r"samples that are read one by one, which Augmentation.*cannot vary"):
        training_batches(maps, 4, spec=digits.spec, seed=0, device=torch.device("cpu"))
    with pytest.raises(InputError, match=r"images in memory, which Noise.*cannot vary"):
        spec = replace(digits.spec, augmentation=SPEC.augmentation)
        training_batches(digits.train, 4, spec=spec, seed=0, device=torch.device("cpu"))


def test_only_images_in_memory_are_held_out():
    with pytest.raises(InputError, match=r"validation images of its own: set dataset\.validation = 0"):
        load("tiny_maps", validation=0.1)
    assert len(load("tiny_maps").validation) == 6
    assert len(load("tiny_maps", num_classes=5).spec.classes) == 5


def test_a_data_set_that_opens_itself_is_checked(tmp_path, capsys):
    report = check("tiny_maps")
    assert report.as_dict()["counts"] == {"train": 26, "validation": 6, "test": 9} and report.as_dict()["ok"]
    assert check("tiny_maps", tmp_path).problems == (f"{tmp_path} holds no maps.",)
    assert main(["check-data", "tiny_maps"]) == 0
    assert "train: 26 images of 3 classes" in capsys.readouterr().out
    assert main(["check-data", "tiny_maps", "--data", str(tmp_path)]) == 2


def test_evaluate_gives_the_runs_own_score_and_every_classs(finished, capsys):
    out, summary, _ = finished
    assert main(["evaluate", str(out), "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["test_mean_iou"] == summary.test_score and found["images"] == 9
    assert list(found["by_class"]["iou"]) == list(tiny_maps.CLASSES)
    assert sum(found["by_class"]["iou"].values()) / 3 == pytest.approx(summary.test_score)


def test_evaluate_at_several_scales(finished, capsys):
    pytest.importorskip("locallearn.tasks.multi_scale")
    out = str(finished[0])
    assert main(["evaluate", out, "--device", "cpu", "--scales", "0.5", "1", "--flip", "--json"]) == 0
    averaged = json.loads(capsys.readouterr().out.splitlines()[-1])["test_mean_iou"]
    assert 0 < averaged != finished[1].test_score


def test_evaluate_refuses_data_of_other_classes(finished, capsys, monkeypatch):
    monkeypatch.setitem(registry.SPECS, "tiny_maps", replace(SPEC, classes=("a", "b", "c")))
    assert main(["evaluate", str(finished[0]), "--device", "cpu"]) == 2
    assert "3 classes (dark, grey, bright) apart, and the data has 3 classes (a, b, c)" in capsys.readouterr().err


def test_steps_are_timed_and_those_of_detectors_not_counted():
    ratios = time_ratios([mapping(), mapping(method={"name": "backprop"})], rounds=1)
    assert len(ratios) == 2 and min(ratios) > 0
    with pytest.raises(InputError, match="depends on the images"):
        counted(mapping(), replace(SPEC, task="detection"))


def test_steps_are_counted_without_the_weights_that_a_run_began_with(tmp_path, caplog):
    options = {"backbone": "resnet18", "weights_backbone": str(tmp_path / "gone.safetensors")}
    made = mapping(network={"name": "deeplabv3", "options": options}, augmentation={"crop": [16, 16]})
    assert counted(made).peak_bytes > 0
    assert not caplog.records


def test_a_network_that_gives_no_maps_is_refused(tmp_path):
    made = mapping().model_copy(update={"network": mapping().network.model_copy(update={"name": "resnet20"})})
    with pytest.raises(InputError, match=r"gives \(2, 3\) for 2 images; it must give \(2, 3, height, width\)"):
        train(made, tmp_path / "run")
    assert not run_folder.RunFolder(tmp_path / "run").path.exists()
