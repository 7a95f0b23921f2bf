from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from locallearn.datasets import load
from locallearn.datasets.batching import evaluation_batches
from locallearn.datasets.registry import find_spec
from locallearn.errors import InputError
from locallearn.parallel.layout import Layout
from locallearn.parallel.team import Team, joined
from locallearn.parallel.watch import Watch
from locallearn.tasks import Classification, Detection
from locallearn.training import checkpoint, train, trainers
from locallearn.training import run as run_module
from locallearn.training.loss_guard import LossGuard
from locallearn.training.trainers import check_together
from training.team_runs import ALONE, at_step, before_call, impatient, in_team, terminated, trained_by
from training.tiny_runs import recipe, same_state, still

pytestmark = pytest.mark.distributed
DATA, BLOCKS, BOTH = Layout(1, 2), Layout(2, 1), Layout(2, 2)
LAYOUTS = {"alone": ALONE, "data": DATA, "blocks": BLOCKS, "both": BOTH}
VARIANTS = {
    "dgl": {},
    "drawing": {"network": "convolutions"},
    "accumulating": {"training": {"accumulate": 3}},
    "validated": {"dataset": {"validation": 0.2}},
    "dgl+man": {"method": {"name": "dgl+man"}},
    "sharded": {"method": {"name": "dgl+man"}, "distributed": {"shard": True}},
    "exchanging": {"method": {"name": "dgl+man"}, "distributed": {"exchange_every": 3}},
    "plain": {"network": "without_statistics", "method": {"name": "training.tiny_runs:LinearHeads"}},
}


def made(name="dgl", **changes):
    fields = {"network": {"name": "training.tiny_runs:still"}, **VARIANTS[name], **changes}
    fields["training"] = {"checkpoint_every_steps": 3, **fields.get("training", {})}
    return recipe(**fields)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Undisturbed runs, made once each."""
    folders = {}

    def get(layout, name):
        if (layout, name) not in folders:
            out = tmp_path_factory.mktemp("straight") / "run"
            assert trained_by(LAYOUTS[layout], made(name), out) == ["done"] * LAYOUTS[layout].processes
            folders[layout, name] = out
        return folders[layout, name]

    return get


def state_of(out):
    state = checkpoint.load(checkpoint.latest(out / "checkpoints"))
    del state["position"]["timings_bytes"]
    return state


def assert_same_results(one, other):
    for name in ("metrics.jsonl", "network.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def assert_same(one, other):
    assert_same_results(one, other)
    first, second = state_of(one), state_of(other)
    assert first.keys() == second.keys()
    for part in first:
        assert same_state(first[part], second[part]), part


def stopped_at(out):
    return checkpoint.load(checkpoint.latest(out / "checkpoints"))["position"]["step"]


@pytest.mark.parametrize("name", ["accumulating", "validated", "dgl+man"])
def test_blocks_in_two_processes_learn_to_the_bit_what_one_process_learns(straight, name):
    assert_same_results(straight("blocks", name), straight("alone", name))


def test_parts_of_batches_and_of_blocks_together_give_the_bits_of_parts_of_batches(straight):
    assert_same_results(straight("both", "dgl"), straight("data", "dgl"))


@pytest.mark.parametrize("layout", ["data", "blocks"])
def test_it_does_not_matter_who_is_first_or_slow(straight, tmp_path, layout):
    def slowed(team):
        begin = Watch.begin_step

        def begin_step(self, step):
            time.sleep(0.02 if step % 2 == team.rank else 0)
            begin(self, step)

        Watch.begin_step = begin_step

    ends = trained_by(LAYOUTS[layout], made(), tmp_path / "run", prepare=slowed, order=[1, 0])
    assert ends == ["done"] * 2
    assert_same(tmp_path / "run", straight(layout, "dgl"))


@pytest.mark.parametrize(("layout", "batch_size"), [("data", 100), ("data", 1400), ("both", 1400)])
def test_every_test_image_counts_once(tmp_path, layout, batch_size):
    # 360 images: an uneven last batch, and with 1400 fewer batches than processes.
    out = tmp_path / "run"
    one = made(training={"epochs": 1, "batch_size": batch_size, "lr": 0.2})
    assert set(trained_by(LAYOUTS[layout], one, out)) == {"done"}
    network = still(10)
    network.load_state_dict(load_file(out / "network.safetensors"))
    network.eval()
    batches = evaluation_batches(load("digits").test, 77, spec=find_spec("digits"), device=torch.device("cpu"))
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y in batches.epoch(0))
    record = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["test_accuracy"] == 100 * right / 360


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("data", "drawing"),
        ("data", "accumulating"),
        ("data", "validated"),
        ("data", "sharded"),
        ("blocks", "accumulating"),
        ("blocks", "validated"),
        ("blocks", "dgl+man"),
        ("blocks", "exchanging"),
    ],
)
def test_a_stopped_run_resumes_in_the_same_layout_to_the_same_bits(straight, tmp_path, layout, name):
    out = tmp_path / "run"
    step = 4 if name == "accumulating" else 11
    ends = trained_by(LAYOUTS[layout], made(name), out, prepare=lambda team: at_step(step, terminated))
    assert ends == ["exit 143"] * 2
    assert step <= stopped_at(out) <= step + 1
    assert trained_by(LAYOUTS[layout], made(name), out, resume=True) == ["done"] * 2
    assert_same(out, straight(layout, name))


def test_a_resumed_run_divides_its_blocks_where_it_did(tmp_path):
    # Where a block draws, what it draws depends on the process that it is in.
    network = {"name": "training.tiny_runs:drawing_thrice"}
    drawing = made(network=network, method=VARIANTS["plain"]["method"], partition={"num_blocks": 3})

    def timed(*seconds, until=None):
        def prepare(team):
            trainers.block_seconds = lambda model, inputs: [*seconds]
            if until:
                at_step(until, terminated)

        return prepare

    whole, out = tmp_path / "whole", tmp_path / "run"
    assert trained_by(BLOCKS, drawing, whole, prepare=timed(1.0, 1.0, 9.0)) == ["done"] * 2
    assert trained_by(BLOCKS, drawing, out, prepare=timed(1.0, 1.0, 9.0, until=11)) == ["exit 143"] * 2
    assert trained_by(BLOCKS, drawing, out, prepare=timed(9.0, 1.0, 1.0), resume=True) == ["done"] * 2
    assert state_of(out)["layout"]["borders"] == [2]
    assert_same(out, whole)


@pytest.mark.parametrize("layout", ["data", "blocks"])
def test_a_killed_run_resumes_from_its_last_checkpoint_to_the_same_bits(straight, tmp_path, layout):
    out, last = tmp_path / "run", LAYOUTS[layout].processes - 1

    def killed(team):
        if team.rank == last:
            at_step(11, lambda: os.kill(os.getpid(), signal.SIGKILL))

    with impatient():
        ends = trained_by(LAYOUTS[layout], made(), out, prepare=killed)
    assert ends[last] == "gone"
    assert all(f"process {last} ended, last seen in block" in end for end in ends[:-1]), ends
    assert stopped_at(out) == 9
    assert trained_by(LAYOUTS[layout], made(), out, resume=True) == ["done"] * (last + 1)
    assert_same(out, straight(layout, "dgl"))


@pytest.mark.parametrize(
    ("first", "then", "name"),
    [("alone", "blocks", "dgl+man"), ("blocks", "alone", "dgl+man"), ("data", "both", "dgl"), ("both", "data", "dgl")],
)
def test_a_run_resumes_in_another_layout_of_the_same_parts_to_the_same_bits(straight, tmp_path, first, then, name):
    out = tmp_path / "run"
    ends = trained_by(LAYOUTS[first], made(name), out, prepare=lambda team: at_step(5, terminated))
    assert set(ends) == {"exit 143"}
    assert set(trained_by(LAYOUTS[then], made(name), out, resume=True)) == {"done"}
    assert_same_results(out, straight("alone" if "alone" in (first, then) else "data", name))


@pytest.mark.parametrize(("first", "then"), [("alone", "data"), ("data", "alone"), ("blocks", "data")])
def test_a_run_resumes_with_another_number_of_parts_to_the_same_numbers(straight, tmp_path, first, then):
    out = tmp_path / "run"
    ends = trained_by(LAYOUTS[first], made("plain"), out, prepare=lambda team: at_step(5, terminated))
    assert set(ends) == {"exit 143"}
    assert set(trained_by(LAYOUTS[then], made("plain"), out, resume=True)) == {"done"}
    expected = straight("alone", "plain")
    for name, tensor in load_file(out / "network.safetensors").items():
        torch.testing.assert_close(tensor, load_file(expected / "network.safetensors")[name], atol=1e-5, rtol=1e-4)
    found, wanted = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (out, expected)
    )
    for one, other in zip(found, wanted, strict=True):
        assert one["test_accuracy"] == pytest.approx(other["test_accuracy"], abs=0.3)
        assert one["train_accuracy"] == pytest.approx(other["train_accuracy"], abs=0.1)
        assert one["blocks"][0]["loss"] == pytest.approx(other["blocks"][0]["loss"], rel=1e-5)


@pytest.mark.parametrize("layout", ["data", "blocks"])
@pytest.mark.parametrize("moment", ["training", "evaluation", "saving"])
def test_sigterm_to_one_process_saves_one_step_in_all(straight, tmp_path, layout, moment):
    out = tmp_path / "run"

    def signalled(team):
        if team.rank == 1:
            if moment == "training":
                at_step(4, terminated)
            else:
                before_call(run_module, {"evaluation": "count", "saving": "own_state"}[moment], 1, terminated)

    ends = trained_by(LAYOUTS[layout], made(), out, prepare=signalled)
    assert ends == ["exit 143"] * 2
    first = {"training": 4, "evaluation": 8, "saving": 3}[moment]
    assert first <= stopped_at(out) <= first + 4
    assert not (out / "summary.json").exists()
    assert trained_by(LAYOUTS[layout], made(), out, resume=True) == ["done"] * 2
    assert_same(out, straight(layout, "dgl"))


@pytest.mark.parametrize(("layout", "rank"), [("data", 1), ("blocks", 0), ("blocks", 1)])
def test_a_loss_that_is_no_number_in_one_process_ends_all_with_its_message(tmp_path, layout, rank):
    def poisoned(team):
        watch = LossGuard.watch

        def watched(self, losses, step):
            watch(self, losses * (float("nan") if step == 4 and team.rank == rank else 1), step)

        LossGuard.watch = watched

    with impatient():
        ends = trained_by(LAYOUTS[layout], made(), tmp_path / "run", prepare=poisoned)
    assert all(end.startswith("TrainingStopped") and "NaN or infinite at step 4" in end for end in ends), ends
    assert f"Process {rank} stopped: The loss of block" in ends[1 - rank]
    assert [end.count("The newest checkpoint is") for end in ends] == [1, 1]


@pytest.mark.parametrize(("layout", "rank"), [("data", 0), ("blocks", 1)])
def test_a_process_that_stands_still_is_named_with_its_block(tmp_path, layout, rank):
    def halted(team):
        if team.rank == rank:
            at_step(4, lambda: os.kill(os.getpid(), signal.SIGSTOP))

    started = time.monotonic()
    with impatient():
        ends = trained_by(LAYOUTS[layout], made(), tmp_path / "run", prepare=halted, timeout=2, halts=rank)
    assert ends[rank] == "gone"
    assert f"process {rank} ended, last seen in block" in ends[1 - rank], ends
    assert time.monotonic() - started < 15


def test_recipes_that_differ_are_refused_in_all(tmp_path):
    def work(team):
        train(made(training={"lr": 0.05 + team.rank}), tmp_path / "run", team=team)

    ends = in_team(DATA, work)
    assert all(end.startswith("InputError") and "training.lr" in end and "Process 1" in end for end in ends), ends
    assert not (tmp_path / "run").exists()


def test_last_batches_that_leave_too_little_for_a_process_are_refused_in_all(tmp_path):
    ends = trained_by(DATA, made(training={"batch_size": 205}), tmp_path / "run")
    assert all("InputError: The last batch has 2 images" in end and "--training.drop-last" in end for end in ends), ends


def test_an_error_in_the_data_of_one_process_is_told_in_all(tmp_path):
    def work(team):
        if team.rank == 1:
            before_call(sys.modules["locallearn.training.train"], "assemble", 1, refuse)
        train(made(), tmp_path / "run", team=team)

    def refuse():
        raise InputError("this disk has no such folder")

    ends = in_team(DATA, work)
    assert all(end.startswith("InputError") and "Process 1: this disk has no such folder" in end for end in ends), ends
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("layout", [BLOCKS, DATA])
def test_what_processes_cannot_do_together_is_refused_at_once(layout):
    training = recipe().training.model_copy(update={"capture": True, "clip_norm": 1.0, "offload": True})
    section = recipe().distributed.model_copy(update={"sync_batch_norm": True})
    asked = recipe().model_copy(update={"training": training, "distributed": section, "precision": "fp16"})
    with pytest.raises(InputError) as caught:
        check_together(asked, Team(0, layout), torch.device("cpu"), Detection(3))
    words = ("SyncBatchNorm", "capture", "clip_norm", "fp16", "offload", "Detectors")
    named = [word for word in words if word in str(caught.value)]
    assert named == ["SyncBatchNorm", "capture", *(words[2:] if layout == BLOCKS else ())]
    check_together(recipe(), Team(0, layout), torch.device("cpu"), Classification(10))


@pytest.mark.parametrize("fields", [{"precision": "fp16"}, {"training": {"clip_norm": 1.0}}])
def test_what_blocks_cannot_do_is_refused_in_all(tmp_path, fields):
    ends = trained_by(BLOCKS, made(**fields), tmp_path / "run")
    assert all(end.startswith("InputError") and "data=N" in end for end in ends), ends
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_processes_that_are_started_anew_find_each_other_and_what_was_settled(tmp_path, monkeypatch):
    # torchrun's store outlives processes, and so do addresses of those that ended.
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {"ADDR": "127.0.0.1", "PORT": server.port}.items():
        monkeypatch.setenv(f"MASTER_{name}", str(value))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("WORLD_SIZE", "2")

    def work(rank, attempt):
        os.environ |= {"RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": str(attempt)}
        with joined(None, device="cpu", timeout=5) as team:
            first = team.shared(lambda: team.kept("name", lambda: f"attempt {attempt}"))
            (tmp_path / f"{attempt}{rank}").write_text(f"{first}, {team.began_again}")

    for attempt in range(3):
        children = [multiprocessing.get_context("fork").Process(target=work, args=(rank, attempt)) for rank in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(20)
            assert child.exitcode == 0
        assert {(tmp_path / f"{attempt}{rank}").read_text() for rank in range(2)} == {f"attempt 0, {attempt > 0}"}
