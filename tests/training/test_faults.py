"""Signals, deaths and halts of real processes under torchrun, on the digits recipe."""

from __future__ import annotations

import random
import re
import signal
import time

import pytest

from locallearn.training import checkpoint
from training.torchrun_runs import SHORT, Torchrun

pytestmark = pytest.mark.distributed
LAYOUTS = ["data=2", "blocks=2"]
FEW = ["--training.epochs", "6", "--training.checkpoint-every-steps", "20", "--num-blocks", "2"]
FEW += ["--network.name", "training.tiny_runs:still"]


@pytest.fixture(scope="module")
def start():
    """Begins runs, of which none outlives the tests."""
    runs = []

    def begin(*args, **options):
        runs.append(Torchrun(*args, **options))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


@pytest.fixture(scope="module")
def straight(tmp_path_factory, start):
    """Undisturbed runs, made once each, and how long they trained."""
    found = {}

    def get(parallel, flags):
        key = (parallel, *flags)
        if key not in found:
            run = start(tmp_path_factory.mktemp("straight") / "run", parallel, flags=flags)
            seconds = -run.begun() + run.trained()
            assert run.end() == 0, run.printed
            found[key] = run.out, seconds
        return found[key]

    return get


def assert_same(one, other):
    for name in ("metrics.jsonl", "network.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def newest(out):
    path = checkpoint.latest(out / "checkpoints")
    return None if path is None else path.name


def codes(printed):
    return {int(code) for code in re.findall(r"exitcode\s*: (-?\d+)", printed)}


def stopped_and_resumed(start, parallel, out, chance, seconds, flags=SHORT):
    """Send SIGTERM to torchrun, once the processes train, at random moments until the run is through; how many hit."""
    hits, trained = 0, False
    while True:
        run = start(out, parallel, flags=flags)
        if not trained:
            run.begun()
            time.sleep(chance.uniform(0, 0.7 * seconds))
        sent = time.monotonic()
        if not trained and run.process.poll() is None:
            run.signal(signal.SIGTERM)
        if run.end() == 0:
            return hits
        assert time.monotonic() - sent < 30, run.printed
        assert newest(out) is not None, run.printed
        trained = run.is_trained  # afterwards there is nothing left to save
        if not trained:
            assert "Stopped by a signal at step" in run.printed, run.printed
            hits += 1
            print(f"{parallel}: {newest(out)}", flush=True)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", LAYOUTS)
def test_ten_sigterms_at_random_moments_cost_nothing(start, straight, tmp_path, parallel):
    whole, seconds = straight(parallel, SHORT)
    chance, hits, runs = random.Random(parallel), 0, 0
    while hits < 10:
        out = tmp_path / f"run{runs}"
        hits += stopped_and_resumed(start, parallel, out, chance, seconds)
        assert_same(out, whole)
        runs += 1
        print(f"{parallel}: {hits} SIGTERMs in {runs} runs")


@pytest.mark.slow
@pytest.mark.parametrize("parallel", LAYOUTS)
def test_five_sigkills_of_a_random_process_cost_nothing(start, straight, tmp_path, parallel):
    whole, seconds = straight(parallel, SHORT)
    chance, kills, runs = random.Random(parallel), 0, 0
    while kills < 5:
        out = tmp_path / f"run{runs}"
        run = start(out, parallel, options=["--max-restarts", "3"])
        for attempt in range(min(3, 5 - kills)):
            run.begun(attempt)
            time.sleep(chance.uniform(0, seconds))
            kills += run.signal(signal.SIGKILL, chance.randrange(2))
        assert run.end() == 0, run.printed
        assert_same(out, whole)
        runs += 1
        print(f"{parallel}: {kills} SIGKILLs in {runs} runs")


@pytest.mark.slow
def test_sigterm_to_one_process_ends_all_with_143_and_the_run_goes_on(start, straight, tmp_path):
    run = start(tmp_path / "run", "blocks=2", flags=FEW)
    run.at_step(20)
    run.signal(signal.SIGTERM, 1)
    assert run.end() == 1
    # Whoever is still on its way out when the first has gone gets another SIGTERM, from torchrun.
    assert 143 in codes(run.printed) <= {143, -signal.SIGTERM}, run.printed
    assert start(tmp_path / "run", "blocks=2", flags=FEW).end() == 0
    assert_same(tmp_path / "run", straight("blocks=2", FEW)[0])


def test_a_killed_process_is_started_again_and_the_run_ends_with_the_same_bits(start, straight, tmp_path):
    run = start(tmp_path / "run", "data=2", options=["--max-restarts", "1"], flags=FEW)
    run.at_step(20)
    run.signal(signal.SIGKILL, 1)
    assert run.end() == 0, run.printed
    assert "process 1 ended, last seen in block" in run.printed
    assert_same(tmp_path / "run", straight("data=2", FEW)[0])


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "rank"), [("data=2", 1), ("blocks=2", 0)])
def test_a_halted_process_is_named_with_its_block(start, tmp_path, parallel, rank):
    run = start(tmp_path / "run", parallel, flags=[*SHORT, "--distributed.timeout", "10"])
    run.at_step(5)
    run.signal(signal.SIGSTOP, rank)
    halted = time.monotonic()
    message = f"process {rank} ended, last seen in block"
    run.until(lambda: message in run.printed, "the message")
    assert time.monotonic() - halted < 30
    assert run.end() != 0
    assert message in run.printed
    assert newest(run.out) is not None
