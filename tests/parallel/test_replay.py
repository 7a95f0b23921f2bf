from __future__ import annotations

import time

import pytest
import torch

import locallearn as ll
from parallel.cases import batch_of, model_of
from parallel.processes import in_processes

BATCHES, AFTERWARDS = 6, 9


def out_of_step(rank, replay, uses, timeout):
    """The first process has few batches, the second goes on learning for some steps after it saw the newest."""
    model = model_of("dgl", dtype=torch.float32)
    parallel = ll.BlockParallel(model, replay=replay, replay_uses=uses, timeout=timeout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    _, newest = batch_of(BATCHES - 1, dtype=torch.float32)
    seen, took, left = [], 0, AFTERWARDS
    try:
        while left if rank else took < BATCHES:
            batch = batch_of(took, dtype=torch.float32) if parallel.is_first else ()
            parallel.local_backward(*batch)
            optimizer.step()
            optimizer.zero_grad()
            parallel.after_step()
            seen.append(parallel.targets)
            took += 1
            if rank:
                left -= left < AFTERWARDS or torch.equal(parallel.targets, newest)
                time.sleep(0.02)
        if not rank:
            parallel.settle()  # what is under way goes down with this process
    except ll.TrainingStopped as error:
        return took, seen, str(error)
    return took, seen, ""


def test_a_faster_process_learns_from_batches_again(tmp_path):
    (first, sent, _), (second, seen, _) = in_processes(2, tmp_path, out_of_step, 2, None, 100)
    assert first == BATCHES < second
    assert all(any(torch.equal(targets, other) for other in sent) for targets in seen)
    assert all(any(torch.equal(targets, other) for other in sent[-2:]) for targets in seen[-AFTERWARDS:])


def test_a_batch_is_used_no_more_often_than_allowed(tmp_path):
    (_, _, _), (second, seen, message) = in_processes(2, tmp_path, out_of_step, 2, 1, 3)
    assert 0 < second <= BATCHES and len({tuple(targets.tolist()) for targets in seen}) == second
    assert "activations were awaited" in message


def refusal(rank, name, options):
    with pytest.raises(ll.InputError) as error:
        ll.BlockParallel(model_of(name), replay=2, **options)
    return str(error.value)


@pytest.mark.parametrize(("name", "options"), [("dgl+man", {}), ("mlaan", {"crossing": "send_back"})])
def test_methods_whose_blocks_need_each_other_stay_in_step(tmp_path, name, options):
    assert all("go out of step" in told for told in in_processes(2, tmp_path, refusal, name, options))
