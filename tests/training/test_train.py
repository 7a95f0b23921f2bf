from __future__ import annotations

import json
import sys
import tomllib
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.datasets import load
from locallearn.datasets.batches import Batches
from locallearn.errors import InputError, TrainingStopped
from locallearn.metrics import TopAccuracy
from locallearn.parallel.whole_model import WholeModel
from locallearn.recipes.recipe import Recipe
from locallearn.tasks import Classification
from locallearn.training import checkpoint, evaluate, load_network, train
from locallearn.training import run as run_module
from locallearn.training.optimizer_step import OptimizerStep, shares
from locallearn.training.schedule import warmup_cosine
from locallearn.training.summary import results
from training.tiny_runs import Heard, LinearHeads, SignalAt, convolutions, recipe, same_state, without_statistics


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    heard = Heard()
    return out, train(recipe(dataset={"validation": 0.25}), out, progress=heard), heard


def test_the_folder_holds_what_it_should(finished):
    out, summary, heard = finished
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints",
        "metrics.jsonl",
        "network.safetensors",
        "recipe.toml",
        "summary.json",
        "timings.jsonl",
    ]
    assert json.loads((out / "summary.json").read_text()) == json.loads(summary.json())
    stored = Recipe.model_validate(tomllib.loads((out / "recipe.toml").read_text()))
    assert stored == recipe(dataset={"validation": 0.25})
    assert heard.steps == list(range(1, 13))
    assert heard.titles == ["training.tiny_runs:convolutions in 2 blocks on digits by dgl, 2 epochs, seed 3"]
    assert [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] == heard.records


def test_metrics_name_every_blocks_loss_terms_and_accuracy(finished):
    record = finished[2].records[0]
    assert [block["blocks"] for block in record["blocks"]] == [[0, 1], [1, 2]]
    for block in record["blocks"]:
        assert block["loss"] == pytest.approx(sum(block["terms"].values()))
        assert 0 < block["accuracy"] < 100
    assert record["train_accuracy"] == record["blocks"][-1]["accuracy"]
    assert "seconds" not in json.dumps(record)


def test_the_summary_reports_the_last_epoch_and_counts(finished):
    out, summary, heard = finished
    last = heard.records[-1]
    assert summary.test_accuracy == last["test_accuracy"]
    assert summary.test_error == pytest.approx(100 - last["test_accuracy"])
    assert (summary.peak_bytes, summary.backprop_peak_bytes) == (1000, 2000)
    assert (summary.num_blocks, summary.steps, summary.epochs, summary.run) == (2, 12, 2, str(out))
    assert summary.parameters == sum(parameter.numel() for parameter in convolutions(10).parameters())
    assert {"python", "torch", "locallearn"} <= summary.versions.keys() <= {"python", "torch", "locallearn", "commit"}


def test_the_saved_network_is_the_one_that_was_tested(finished):
    out, summary, _ = finished
    network, splits = convolutions(10), load("digits")
    assert load_network(network, out / "network.safetensors") == splits.spec.classes
    test = Batches(splits.test, 77, spec=splits.spec, seed=0, augmentation=None, device="cpu", shuffle=False)
    assert evaluate(network, test, TopAccuracy(10)) == {"accuracy": summary.test_accuracy}


def epochs(*pairs):
    names = ("validation_accuracy", "test_accuracy")
    return [{"epoch": epoch} | dict(zip(names, pair, strict=True)) for epoch, pair in enumerate(pairs, 1)]


def test_held_out_images_choose_the_epoch_and_the_test_set_never_does():
    found = results(epochs((50.0, 60.0), (None, None), (70.0, 55.0), (70.0, 90.0), (65.0, 58.0)))
    assert (found["best_validation_epoch"], found["best_validation_error"]) == (3, 30.0)
    assert found["test_error_at_best_validation"] == 45.0
    assert (found["best_test_epoch"], found["best_test_error"], found["test_error"]) == (4, 10.0, 42.0)


def test_other_scores_are_told_by_their_own_name():
    records = [
        {"epoch": e, "validation_iou": v, "test_iou": t, "test_x": e} for e, v, t in ((1, 3.0, 5.0), (2, 4.0, 2.0))
    ]
    assert results(records, "iou") == {
        "test_iou": 2.0,
        "test_x": 2,
        "best_test_iou": 5.0,
        "best_test_epoch": 1,
        "best_validation_iou": 4.0,
        "best_validation_epoch": 2,
        "test_iou_at_best_validation": 2.0,
    }


def test_without_held_out_images_no_epoch_is_chosen():
    found = results(epochs((None, 60.0), (None, 50.0)))
    assert (found["test_error"], found["best_test_error"], found["best_test_epoch"]) == (50.0, 40.0, 1)
    assert found["best_validation_error"] is None and found["test_error_at_best_validation"] is None


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(recipe(seed=seed, training={"epochs": 1}), tmp_path / name)
    networks = [(tmp_path / name / "network.safetensors").read_bytes() for name in "abc"]
    assert networks[0] == networks[1] != networks[2]


def test_backprop_is_a_plain_loop_bit_for_bit(tmp_path):
    made = recipe(method={"name": "backprop"}, training={"accumulate": 1, "epochs": 3})
    train(made, tmp_path / "run")
    splits, trained = load("digits"), convolutions(10)
    load_network(trained, tmp_path / "run" / "network.safetensors")
    torch.manual_seed(3)
    network = convolutions(10)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    )
    augmentation = made.dataset.augmentation.over(splits.spec.augmentation)
    batches = Batches(
        splits.train, 200, spec=splits.spec, seed=3, augmentation=augmentation, device="cpu", shuffle=True
    )
    for epoch in (1, 2, 3):
        optimizer.param_groups[0]["lr"] = warmup_cosine(0.05, epoch, 3)
        for inputs, targets in batches.epoch(epoch - 1):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    assert same_state(dict(trained.state_dict()), dict(network.state_dict()))


def test_evaluate_every_skips_epochs_but_never_the_last(tmp_path):
    heard = Heard()
    train(recipe(training={"epochs": 3, "evaluate_every": 2}), tmp_path / "run", progress=heard)
    assert [record["test_accuracy"] is None for record in heard.records] == [True, False, False]


def test_a_folder_with_anything_in_it_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="--resume"):
        train(recipe(), tmp_path)
    with pytest.raises(InputError, match="exists"):
        train(recipe(), tmp_path / "notes.txt")
    with pytest.raises(InputError, match="no run to resume"):
        train(recipe(), tmp_path / "empty", resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_resuming_with_another_recipe_names_every_difference(tmp_path):
    with pytest.raises(SystemExit):
        train(recipe(), tmp_path / "run", progress=SignalAt(1))
    other = recipe(seed=4, training={"lr": 0.07, "clip_norm": 1.0})
    with pytest.raises(InputError) as refusal:
        train(other, tmp_path / "run", resume=True)
    for text in ("seed is 4, but the run there has 3.", "training.lr is 0.07", "training.clip_norm is 1.0"):
        assert text in str(refusal.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [("one_output", r"gives \(2, 1\).*\(2, 10\)"), ("needs_grey", r"does not take .*\(3, 8, 8\)")],
)
def test_a_network_that_does_not_fit_the_data_is_refused_before_anything_is_written(tmp_path, network, message):
    with pytest.raises(InputError, match=message):
        train(recipe(network=network), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="--device cpu"):
        train(recipe(device="xpu:7"), tmp_path / "run")


@pytest.mark.parametrize("method", ["dgl", "backprop"])
def test_a_loss_that_is_no_number_stops_the_run_with_block_and_step(tmp_path, method):
    made = recipe(
        network="without_statistics",
        method={"name": method},
        training={"lr": 1e20, "schedule": {"name": "constant"}, "checkpoint_every_steps": 1},
    )
    blocks = "block 0, block 1" if method == "dgl" else "blocks 0 to 1"
    with pytest.raises(TrainingStopped, match=rf"{blocks} is NaN or infinite at step 2.*lr.*step-00000001\."):
        train(made, tmp_path / "run")
    state = checkpoint.load(tmp_path / "run" / "checkpoints" / "step-00000001")
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def test_only_the_block_whose_loss_is_no_number_is_named(tmp_path, monkeypatch):
    real = OptimizerStep.add

    def add(self, inputs, targets, share, *, last):
        outputs = real(self, inputs, targets, share, last=last)
        step = self.calls = getattr(self, "calls", 0) + 1
        return outputs | {1: outputs[1]._replace(loss=outputs[1].loss * float("nan"))} if step == 5 else outputs

    monkeypatch.setattr(OptimizerStep, "add", add)
    heard = Heard()
    with pytest.raises(TrainingStopped, match="The loss of block 1 is NaN or infinite at step 5"):
        train(recipe(), tmp_path / "run", progress=heard)
    assert heard.steps == [1, 2, 3, 4]  # the step itself was not made


def test_weights_that_are_no_numbers_are_found_at_the_epochs_end(tmp_path, monkeypatch):
    def poison(self):
        with torch.no_grad():
            self.model.window_parameters(1)[0].fill_(float("inf"))
        return []

    monkeypatch.setattr(OptimizerStep, "finish", poison)
    with pytest.raises(TrainingStopped, match="Weights of block 1 are NaN or infinite after step 1"):
        train(recipe(training={"batch_size": 2000}), tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate")],
)
def test_running_out_of_memory_names_block_batch_peak_and_remedies(tmp_path, monkeypatch, error):
    real, calls = Classification.output_loss, []

    def output_loss(self, network, output, targets):
        calls.append(1)
        if len(calls) == 11:
            raise error
        return real(self, network, output, targets)

    monkeypatch.setattr(Classification, "output_loss", output_loss)
    with pytest.raises(TrainingStopped) as stopped:
        train(recipe(), tmp_path / "run")
    for text in ("in block 1", "batches of 200", "MiB", "--num-blocks", "--training.accumulate", "step-00000008"):
        assert text in str(stopped.value)


def test_an_operator_without_a_deterministic_form_stops_the_run(tmp_path, monkeypatch):
    def output_loss(self, network, output, targets):
        return output.sum() + torch.zeros(1).put_(torch.tensor([0]), torch.ones(1)).sum()

    monkeypatch.setattr(Classification, "output_loss", output_loss)
    with pytest.raises(TrainingStopped, match=r"^put_ .*without --deterministic.*There is no checkpoint"):
        train(recipe(deterministic=True), tmp_path / "run")


def test_other_errors_pass_through(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(run_module, "count", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train(recipe(), tmp_path / "run")


def stepped(batches, made, micro):
    torch.manual_seed(0)
    network = without_statistics(10)
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8), num_blocks=2)
    model = ll.LocalModel(blocks, LinearHeads(), ll.Classification(10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    stepping = OptimizerStep(WholeModel(model), optimizer, made, torch.device("cpu"))
    for inputs, targets in batches:
        pieces = list(zip(inputs.split(micro), targets.split(micro), strict=True))
        for (x, y), share in zip(pieces, shares(len(inputs), micro, 0, len(pieces)), strict=True):
            stepping.add(x, y, share)
        stepping.finish()
    return list(model.parameters())


@pytest.mark.parametrize("training", [{}, {"clip_norm": 0.05}, {"clip_value": 0.01}])
@pytest.mark.parametrize("micro", [10, 7])
def test_accumulated_batches_equal_the_large_batch(training, micro):
    made = recipe(training=training)
    torch.manual_seed(1)
    batches = [(torch.randn(30, 3, 8, 8), torch.randint(10, (30,))) for _ in range(3)]
    for one, other in zip(stepped(batches, made, 30), stepped(batches, made, micro), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_clipping_limits_the_whole_gradient():
    made = recipe(training={"clip_norm": 1e-3})
    batch = [(torch.randn(30, 3, 8, 8), torch.randint(10, (30,)))]
    moved = [a - b for a, b in zip(stepped(batch, made, 30), stepped([], made, 30), strict=True)]
    assert float(nn.utils.get_total_norm(moved)) == pytest.approx(0.5 * 1e-3, rel=1e-3)


def test_shares_count_the_last_smaller_batch():
    assert shares(10, 4, 0, 3) == [0.4, 0.4, 0.2]
    assert shares(10, 4, 2, 3) == [1.0]


def test_the_last_group_of_an_epoch_is_smaller(tmp_path):
    heard = Heard()
    train(recipe(training={"accumulate": 3}), tmp_path / "run", progress=heard)
    assert heard.records[-1]["step"] == 6


def test_channels_last_and_deterministic_runs_work(tmp_path):
    made = recipe(channels_last=True, deterministic=True, precision="bf16", training={"epochs": 1})
    assert train(made, tmp_path / "run").test_accuracy > 0
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_peak_that_cannot_be_counted_costs_no_results(tmp_path, monkeypatch):
    def fails(*_):
        raise NotImplementedError("no shapes")

    monkeypatch.setitem(sys.modules, "locallearn.training.step_cost", SimpleNamespace(step_cost=fails))
    heard = Heard()
    assert train(recipe(training={"epochs": 1}), tmp_path / "run", progress=heard).peak_bytes is None
    assert "peak_bytes could not be counted: no shapes" in heard.notes
