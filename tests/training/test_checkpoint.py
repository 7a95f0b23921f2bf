from __future__ import annotations

import os
import pickle
import random
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from locallearn.errors import InputError, TrainingStopped
from locallearn.training import checkpoint
from training.tiny_runs import Hostile

PARTS = {"network": {"weight": torch.arange(50.0)}, "run": {"epoch": 3, "name": "x", "pair": (1, None)}}


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(tmp_path, 7, PARTS, keep=5)
    return tmp_path


def test_what_is_saved_is_loaded(folder):
    loaded = checkpoint.load(folder / "step-00000007")
    assert torch.equal(loaded["network"]["weight"], PARTS["network"]["weight"])
    assert loaded["run"] == PARTS["run"]


def test_nothing_but_the_checkpoint_is_left(folder):
    assert [path.name for path in folder.iterdir()] == ["step-00000007"]


def test_the_newest_n_stay_and_a_second_save_of_a_step_gets_its_own_name(tmp_path):
    for step in (2, 10, 10, 9):
        checkpoint.save(tmp_path, step, {"run": step}, keep=3)
    assert [path.name for path in checkpoint.names(tmp_path)] == ["step-00000009", "step-00000010", "step-00000010.1"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-00000010.1"


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None


@pytest.mark.parametrize("name", ["network.pt", "run.pt", "manifest.json"])
def test_every_changed_byte_is_found_and_the_file_named(folder, name):
    path = folder / "step-00000007" / name
    sound = path.read_bytes()
    generator = random.Random(0)
    for _ in range(70):
        content = bytearray(sound)
        place = generator.randrange(len(content))
        content[place] ^= generator.randrange(1, 256) if generator.random() < 0.5 else 1 << generator.randrange(8)
        path.write_bytes(content)
        assert [name in problem for problem in checkpoint.damage(path.parent)] == [True]
    path.write_bytes(sound)
    assert checkpoint.damage(path.parent) == []


@pytest.mark.parametrize("name", ["network.pt", "run.pt", "manifest.json"])
@pytest.mark.parametrize("change", ["missing", "truncated", "grown", "empty"])
def test_missing_and_truncated_files_are_refused_by_name(folder, name, change):
    path = folder / "step-00000007" / name
    content = path.read_bytes()
    path.unlink()
    if change != "missing":
        path.write_bytes({"truncated": content[:-1], "grown": content + b"\n", "empty": b""}[change])
    with pytest.raises(InputError, match=name):
        checkpoint.load(path.parent)
    with pytest.raises(InputError, match=name):
        checkpoint.latest(folder)


def test_an_extra_file_is_refused_by_name(folder):
    (folder / "step-00000007" / "more.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"more\.pt does not belong"):
        checkpoint.load(folder / "step-00000007")


def test_falling_back_is_asked_for_and_said(folder):
    checkpoint.save(folder, 9, PARTS, keep=5)
    (folder / "step-00000009" / "run.pt").unlink()
    with pytest.raises(InputError, match=r"--fall-back .* go on from .*step-00000007"):
        checkpoint.latest(folder)
    with pytest.warns(UserWarning, match="damaged-step-00000009"):
        assert checkpoint.latest(folder, fall_back=True) == folder / "step-00000007"
    assert checkpoint.latest(folder) == folder / "step-00000007"


def test_no_sound_checkpoint_is_said(folder):
    (folder / "step-00000007" / "run.pt").unlink()
    with pytest.warns(UserWarning, match="set aside"), pytest.raises(InputError, match="No checkpoint"):
        checkpoint.latest(folder, fall_back=True)


def legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def plain(value, path):
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("write", [torch.save, legacy, plain])
@pytest.mark.parametrize("nested", [False, True])
def test_hostile_pickles_are_refused_and_never_run(folder, write, nested):
    marker = folder / "marker"
    path = folder / "step-00000007" / "run.pt"
    hostile = Hostile(marker)
    write({"a": [{"b": hostile}]} if nested else hostile, path)
    manifest = path.with_name("manifest.json")
    manifest.unlink()
    manifest.write_bytes(checkpoint._manifest(path.parent))  # the attacker can hash, too
    assert checkpoint.damage(path.parent) == []
    with pytest.raises(InputError, match=r"run\.pt was refused") as refusal:
        checkpoint.load(path.parent)
    assert "\n" not in str(refusal.value)
    assert not marker.exists()


def test_the_source_never_loads_more_than_weights():
    source = Path(checkpoint.__file__).parents[1]
    text = "".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    loads = re.findall(r"torch\.load\((.*)", text)
    assert loads and all("weights_only=True)" in rest for rest in loads)
    assert "pickle.load" not in text


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_failed_write_leaves_the_previous_checkpoint(folder, monkeypatch, function, call):
    real, calls = getattr(os, function), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, function, failing)
    if function == "replace" and call > 1:
        checkpoint.save(folder, 8, PARTS, keep=5)
        return
    with pytest.raises(TrainingStopped, match=r"No space left on device.*Earlier checkpoints are intact"):
        checkpoint.save(folder, 8, PARTS, keep=1)
    assert [path.name for path in folder.iterdir()] == ["step-00000007"]
    assert checkpoint.damage(folder / "step-00000007") == []


def in_fork(work):
    """Run `work` in a child that starts with torch loaded; its exit code."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(work() or 0)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("limit", [0, 500, 5_000, 300_000])
def test_a_full_disk_is_reported_with_the_path(folder, limit):
    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            checkpoint.save(folder, 8, {"network": {"weight": torch.zeros(100_000)}}, keep=1)
        except TrainingStopped as stopped:
            return 1 if str(folder) in str(stopped) and "File too large" in str(stopped) else 2
        return 0

    assert in_fork(work) == 1
    assert [path.name for path in folder.iterdir()] == ["step-00000007"]
    assert checkpoint.damage(folder / "step-00000007") == []


def test_a_read_only_folder_is_reported(tmp_path):
    (tmp_path / "checkpoints").write_text("a file is in the way")
    with pytest.raises(TrainingStopped, match=r"could not be written to .*checkpoints"):
        checkpoint.save(tmp_path / "checkpoints", 8, PARTS, keep=1)


def test_a_failed_deletion_only_warns(folder, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="could not be deleted"):
        patch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: ignore_errors or refuse(path))
        checkpoint.save(folder, 8, PARTS, keep=1)
    assert checkpoint.latest(folder) == folder / "step-00000008"


def save_for_ever(folder):
    step = 0
    while True:
        step += 1
        checkpoint.save(folder, step, {"network": {"weight": torch.full((20_000,), float(step))}, "run": step}, keep=2)


def kill_while_saving(folder, delay):
    child = os.fork()
    if child == 0:
        save_for_ever(folder)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    newest = checkpoint.latest(folder)
    checkpoint.clean(folder)
    assert not list(folder.glob(".saving-*"))
    if newest is None:
        return 0
    loaded = checkpoint.load(newest)
    assert (loaded["network"]["weight"] == loaded["run"]).all()
    return loaded["run"]


def many_kills(tmp_path, count):
    generator, reached = random.Random(0), []
    for attempt in range(count):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        reached.append(kill_while_saving(folder, generator.uniform(0.005, 0.15)))
    assert max(reached) > 1


def test_killed_while_saving_the_latest_is_always_sound(tmp_path):
    many_kills(tmp_path, 20)


@pytest.mark.slow
def test_killed_while_saving_a_hundred_times(tmp_path):
    many_kills(tmp_path, 100)
