"""A process that ends or stands still is named, with its block, and nobody waits for it forever."""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

import locallearn as ll
from locallearn.errors import TrainingStopped
from locallearn.parallel import watch as watching
from locallearn.parallel.watch import Watch
from parallel.cases import batch_of, model_of
from parallel.processes import begun, in_processes

TIMEOUT, PATIENCE = 5.0, 30.0
STEP = 3


BEAT = 0.2


@pytest.fixture(autouse=True, scope="module")
def quick_signs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "BEAT", BEAT)
        patch.setattr(watching, "SILENCE", 5 * BEAT)
        yield


class Fault(ll.StepListener):
    """Ends this process before a block, or lets it stand there until another one has said what it sees."""

    def __init__(self, kind, block, folder, other):
        self.kind, self.block, self.said = kind, block, folder / f"{other}.pt"

    def before_block(self, index):
        if index == self.block:
            self.happen()

    def happen(self):
        time.sleep(5 * BEAT)  # so that the place has been told
        while self.kind == "stands" and not self.said.exists():
            time.sleep(0.02)
        os._exit(9)


def lost(rank, folder, how, name, kind, faulty):
    """Trains until the faulty process fails; the other one tells what it was told, and after how long."""
    store = dist.distributed_c10d._get_default_store()
    block = 2 if how == "data" or faulty else 1
    with Watch(store, rank, 2, TIMEOUT) as watch:
        model = model_of(name, seed=rank)
        if how == "data":
            parallel = ll.DataParallel(model, gather=True, watch=watch)
        else:
            parallel = ll.BlockParallel(model, crossing="send_back" if how == "back" else "refuse", watch=watch)
        optimizer = torch.optim.SGD([p for p in model.parameters() if not p.is_meta], lr=0.1)
        dist.barrier()
        fault = Fault(kind, block, folder, 1 - rank)
        began = time.monotonic()
        try:
            for step in range(1, 60):
                watch.begin_step(step)
                strikes = rank == faulty and step == STEP
                batch = batch_of(step) if how == "data" or parallel.is_first else ()
                parallel.local_backward(*batch, listener=fault if strikes else ll.StepListener())
                optimizer.step()
                optimizer.zero_grad()
                parallel.after_step()
                began = time.monotonic()
        except TrainingStopped as error:
            return [str(error), time.monotonic() - began]
    return ["no error", 0.0]


CASES = [
    ("data", "dgl", "ends", 1, "gradients were summed"),
    ("data", "dgl", "stands", 1, "gradients were summed"),
    ("data", "predsim", "ends", 1, "samples were gathered"),
    ("blocks", "dgl", "ends", 0, "activations were awaited"),
    ("blocks", "dgl", "stands", 0, "activations were awaited"),
    ("blocks", "dgl", "stands", 1, "activations were sent"),
    ("blocks", "dgl+man", "stands", 1, "followed parameters were exchanged"),
    ("back", "backprop", "ends", 1, "gradients crossed from process to process"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the process that is left says in each case; all begin at once, because most of it is waiting."""
    ends = {}
    for case in CASES:
        how, name, kind, faulty, _ = case
        folder = tmp_path_factory.mktemp("lost")
        ends[case] = begun(2, folder, lost, folder, how, name, kind, faulty, apart=True)
    return {case: end() for case, end in ends.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_a_process_that_is_lost_is_named_with_its_block(said, case):
    how, _, kind, faulty, doing = case
    assert said[case][faulty] is None
    message, after = said[case][1 - faulty]
    place = f"block {2 if how == 'data' or faulty else 1} of step {STEP}"
    seen = f"ended, last seen in {place} (" if kind == "ends" else f"has stood in {place} for "
    assert message.startswith(f"The processes lost each other while {doing}: process {faulty} {seen}")
    assert after < PATIENCE


def test_the_process_that_holds_the_store_is_named_when_it_ends(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = in_processes(2, tmp_path, without_store, port, apart=True)
    assert "process 0, through which they find each other, has ended or cannot be reached" in found[1]


def without_store(rank, port):
    store = dist.TCPStore("127.0.0.1", port, 2, is_master=rank == 0, timeout=timedelta(seconds=10))
    watch = Watch(store, rank, 2, TIMEOUT)
    parallel = ll.DataParallel(model_of("dgl"), watch=watch)
    if rank == 0:
        os._exit(9)
    try:
        parallel.local_backward(*batch_of(0))
    except TrainingStopped as error:
        return str(error)
    return "no error"


def told(watch, error=None):
    with pytest.raises(TrainingStopped) as caught, watch.explained("nothing was done"):
        raise error or RuntimeError("Connection reset\n at some place")
    return str(caught.value)


def test_signs_of_life_tell_who_never_began_ended_or_stands():
    store = dist.HashStore()
    with Watch(store, 0, 3, 1) as own:
        assert "process 1 never began; process 2 never began (Connection reset)" in told(own)
        second, third = Watch(store, 1, 3, 1), Watch(store, 2, 3, 1)
        second.begin_step(7)
        second.before_block(4)
        time.sleep(2 * BEAT)
        third.close()
        message = told(own, TimeoutError("none"))
        assert "process 1 has stood in block 4 of step 7 for" in message
        assert "process 2 ended, last seen in block 0 of step 0 (none)" in message
        second.close()


def test_processes_that_go_on_are_not_accused():
    store = dist.HashStore()

    class Working(Watch):
        def _sign(self):
            self.before_block(1)
            super()._sign()

    with Watch(store, 0, 2, 1) as own, Working(store, 1, 2, 1):
        assert "all processes are alive, so a network or memory fault is likely (Connection reset)" in told(own)


def test_without_signs_of_life_there_is_still_a_message():
    assert "none leaves signs of life (Connection reset)" in told(Watch(None, 0, 2, 1))


def test_other_errors_pass_as_they_are():
    for error in (TrainingStopped("as it was"), ValueError("another")):
        with pytest.raises(type(error), match=str(error)), Watch(None, 0, 2, 1).explained("nothing was done"):
            raise error
