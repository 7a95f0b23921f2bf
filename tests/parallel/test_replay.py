from __future__ import annotations

import time

import pytest
import torch

import locallearn as ll
from parallel.cases import batch_of, model_of
from parallel.processes import in_processes

BATCHES, STEPS = 6, 15


def out_of_step(rank, replay, uses):
    """The first process has few batches, the second takes many steps on them."""
    model = model_of("dgl", dtype=torch.float32)
    parallel = ll.BlockParallel(model, replay=replay, replay_uses=uses, timeout=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    seen, took = [], 0
    try:
        for step in range(STEPS if rank else BATCHES):
            batch = batch_of(step, dtype=torch.float32) if parallel.is_first else ()
            parallel.local_backward(*batch)
            optimizer.step()
            optimizer.zero_grad()
            parallel.after_step()
            seen.append(parallel.targets)
            took += 1
            if rank:
                time.sleep(0.02)
    except ll.TrainingStopped as error:
        return took, seen, str(error)
    return took, seen, ""


def test_a_faster_process_learns_from_batches_again(tmp_path):
    (first, sent, _), (second, seen, _) = in_processes(2, tmp_path, out_of_step, 2, None)
    assert (first, second) == (BATCHES, STEPS)
    assert all(any(torch.equal(targets, other) for other in sent) for targets in seen)
    last = [targets for targets in seen[-6:] if any(torch.equal(targets, other) for other in sent[-2:])]
    assert len(last) == 6  # of what it kept, the newest two


def test_a_batch_is_used_no_more_often_than_allowed(tmp_path):
    (_, _, _), (second, seen, message) = in_processes(2, tmp_path, out_of_step, 2, 1)
    assert 0 < second <= BATCHES and len({tuple(targets.tolist()) for targets in seen}) == second
    assert "activations were awaited" in message


def refusal(rank, name, options):
    with pytest.raises(ll.InputError) as error:
        ll.BlockParallel(model_of(name), replay=2, **options)
    return str(error.value)


@pytest.mark.parametrize(("name", "options"), [("dgl+man", {}), ("mlaan", {"crossing": "send_back"})])
def test_methods_whose_blocks_need_each_other_stay_in_step(tmp_path, name, options):
    assert all("go out of step" in told for told in in_processes(2, tmp_path, refusal, name, options))
