from __future__ import annotations

import os
import signal

import pytest
import torch

from locallearn.errors import InputError, TrainingStopped
from locallearn.training import checkpoint, optimizer_step, train
from locallearn.training import run as run_module
from training.tiny_runs import Heard, Hostile, KilledAfterLogging, SignalAt, in_child, recipe, same_state

VARIANTS = {
    "dgl": {},
    "accumulating": {"training": {"accumulate": 4, "schedule": {"name": "poly"}}},
    "adamw": {"method": {"name": "predsim"}, "training": {"optimizer": "adamw", "lr": 0.003}},
    "validated": {"dataset": {"validation": 0.2}, "method": {"name": "backprop"}},
    "fp16": {"precision": "fp16"},
    "stepped": {
        "method": {"name": "dgl+man"},
        "training": {"optimizer": "adamw", "lr": 0.003, "step_in_backward": True, "clip_value": 0.1},
    },
}


def variant(name, *, device="cpu", **training):
    fields = {"device": device, **VARIANTS[name]}
    fields["training"] = {"checkpoint_every_steps": 3, **fields.get("training", {}), **training}
    return recipe(**fields)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Uninterrupted runs, made once each."""
    folders = {}

    def get(name, made):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("straight") / name
            train(made, folders[name])
        return folders[name]

    return get


def assert_same(one, other):
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert (one / "network.safetensors").read_bytes() == (other / "network.safetensors").read_bytes()
    states = [checkpoint.load(checkpoint.latest(folder / "checkpoints")) for folder in (one, other)]
    for state in states:
        del state["position"]["timings_bytes"]
    assert states[0].keys() == {
        *("network", "objectives", "optimizer", "scaler", "tally", "position", "random", "heard", "layout"),
    }
    for part in states[0]:
        assert same_state(states[0][part], states[1][part]), part


@pytest.mark.parametrize("name", VARIANTS)
def test_killed_mid_epoch_and_resumed_in_a_new_process_is_bit_identical(straight, tmp_path, name):
    made, out = variant(name), tmp_path / "run"
    killed_at = 3 if name == "accumulating" else 11
    assert in_child(lambda: train(made, out, progress=SignalAt(killed_at, signal.SIGKILL))) == -signal.SIGKILL
    assert in_child(lambda: train(made, out, resume=True)) == 0
    assert_same(out, straight(name, made))


def test_steps_inside_the_backward_pass_leave_the_same_network_and_state(straight, tmp_path):
    train(variant("stepped", step_in_backward=False), tmp_path / "ordinary")
    assert_same(tmp_path / "ordinary", straight("stepped", variant("stepped")))


def test_offloading_leaves_the_same_network_and_state_and_resumes(straight, tmp_path, monkeypatch):
    made = variant("stepped", device="auto", offload=True)
    monkeypatch.setattr(optimizer_step, "check_offload", lambda device: None)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        train(made, tmp_path / "run", progress=SignalAt(11))
    train(made, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", straight("stepped", variant("stepped")))


@pytest.mark.parametrize("step", [1, 7, 8, 10])
def test_sigterm_saves_exits_143_and_resumes_bit_identical(straight, tmp_path, step):
    made, out = variant("dgl"), tmp_path / "run"
    assert in_child(lambda: train(made, out, progress=SignalAt(step))) == 143
    saved = checkpoint.load(checkpoint.latest(out / "checkpoints"))
    assert saved["position"]["step"] == step
    assert not (out / "summary.json").exists()
    heard = Heard()
    train(made, out, resume=True, progress=heard)
    assert heard.steps[:1] == [step + 1]
    assert_same(out, straight("dgl", made))


def test_sigterm_in_evaluation_saves_exits_143_and_resumes_bit_identical(straight, tmp_path, monkeypatch):
    made, out = variant("dgl"), tmp_path / "run"

    def interrupting(network, answers, metric):
        os.kill(os.getpid(), signal.SIGTERM)
        return run_module_evaluate(network, answers, metric)

    run_module_evaluate = run_module.count
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(run_module, "count", interrupting)
        train(made, out)
    assert stopped.value.code == 143
    assert not (out / "metrics.jsonl").exists()
    train(made, out, resume=True)
    assert_same(out, straight("dgl", made))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_exit_code_tells_the_signal_and_the_handlers_return(tmp_path, number, code):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as stopped:
        train(recipe(), tmp_path / "run", progress=SignalAt(2, number))
    assert stopped.value.code == code
    assert checkpoint.latest(tmp_path / "run" / "checkpoints") is not None
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_twice_interrupted_is_still_bit_identical(straight, tmp_path):
    made, out = variant("dgl"), tmp_path / "run"
    for step in (5, 11):
        with pytest.raises(SystemExit):
            train(made, out, resume=out.exists(), progress=SignalAt(step))
    train(made, out, resume=True)
    assert_same(out, straight("dgl", made))


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    made, out = recipe(), tmp_path / "run"
    first = train(made, out)
    before = (out / "metrics.jsonl").read_bytes(), (out / "network.safetensors").read_bytes()
    assert train(made, out, resume=True) == first
    assert ((out / "metrics.jsonl").read_bytes(), (out / "network.safetensors").read_bytes()) == before


def test_a_run_that_stopped_before_its_first_checkpoint_starts_again(straight, tmp_path):
    made, out = variant("dgl"), tmp_path / "run"
    assert in_child(lambda: train(made, out, progress=SignalAt(2, signal.SIGKILL))) == -signal.SIGKILL
    assert checkpoint.latest(out / "checkpoints") is None
    (out / "checkpoints" / ".saving-00000003").mkdir(parents=True)
    train(made, out, resume=True)
    assert_same(out, straight("dgl", made))
    assert not list(out.rglob(".saving-*"))


@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_between_log_and_checkpoint_logs_the_epoch_once(straight, tmp_path, epoch):
    made, out = variant("dgl", checkpoint_every_steps=None), tmp_path / "run"
    assert in_child(lambda: train(made, out, progress=KilledAfterLogging(epoch))) == -signal.SIGKILL
    assert len((out / "metrics.jsonl").read_text().splitlines()) == epoch
    train(made, out, resume=True)
    assert_same(out, straight("dgl", variant("dgl")))


def test_a_damaged_latest_checkpoint_is_refused_and_fallen_back_from_only_when_asked(straight, tmp_path):
    made, out = variant("dgl"), tmp_path / "run"
    with pytest.raises(SystemExit):
        train(made, out, progress=SignalAt(11))
    newest = checkpoint.latest(out / "checkpoints")
    content = bytearray((newest / "network.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "network.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"damaged.*step-00000009.*network\.pt was altered"):
        train(made, out, resume=True)
    with pytest.warns(UserWarning, match="set aside"):
        train(made, out, resume=True, fall_back=True)
    assert_same(out, straight("dgl", made))


def test_a_hostile_checkpoint_is_refused_and_never_run(tmp_path):
    made, out = recipe(), tmp_path / "run"
    train(made, out)
    newest, marker = checkpoint.latest(out / "checkpoints"), tmp_path / "marker"
    for path in newest.glob("*.pt"):
        sound, manifest = path.read_bytes(), newest / "manifest.json"
        torch.save({"x": Hostile(marker)}, path)
        manifest.unlink()
        manifest.write_bytes(checkpoint._manifest(newest))
        with pytest.raises(InputError, match=f"{path.stem}.*refused"):
            train(made, out, resume=True)
        path.write_bytes(sound)
    assert not marker.exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    out = tmp_path / "run"
    train(recipe(), out)
    other = recipe(network="without_statistics")
    stored = (out / "recipe.toml").read_text()
    (out / "recipe.toml").write_text(stored.replace("convolutions", "without_statistics"))
    with pytest.raises(InputError, match="does not fit this run"):
        train(other, out, resume=True)


def test_shortened_metrics_are_refused(tmp_path):
    made, out = recipe(), tmp_path / "run"
    train(made, out)
    (out / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match=r"metrics\.jsonl has 0 bytes"):
        train(made, out, resume=True)


@pytest.mark.parametrize(("failing", "kept"), [(".saving", "step-00000006"), ("metrics", "step-00000008")])
def test_a_full_disk_stops_the_run_and_it_resumes_bit_identical(straight, tmp_path, monkeypatch, failing, kept):
    made, out = variant("dgl"), tmp_path / "run"
    real = os.fsync

    def full(descriptor):
        if failing in os.readlink(f"/proc/self/fd/{descriptor}") and reached():
            raise OSError(28, "No space left on device")
        real(descriptor)

    def reached():
        return (out / "checkpoints" / "step-00000006").exists()

    with monkeypatch.context() as patch, pytest.raises(TrainingStopped, match=rf"No space left.*{kept}"):
        patch.setattr(os, "fsync", full)
        train(made, out)
    train(made, out, resume=True)
    assert_same(out, straight("dgl", made))
