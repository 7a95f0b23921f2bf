from __future__ import annotations

import pytest
import torch

from locallearn import Classification, LocalOutput, Window
from locallearn.training.epoch_tally import EpochTally

WINDOWS = [Window(0, 1), Window(1, 2, "cascade")]
TARGETS = torch.tensor([0, 1, 1, 1])


def outputs(loss):
    logits = torch.eye(2)[[0, 0, 1, 1]]
    terms = {"b": torch.tensor(1.0), "a": torch.tensor(loss)}
    return {0: LocalOutput(torch.tensor(loss), terms, None), 1: LocalOutput(torch.tensor(2.0), {}, logits)}


def test_means_are_over_images_and_accuracies_where_there_are_logits():
    tally = EpochTally(WINDOWS, Classification(2), torch.device("cpu"))
    tally.add(outputs(1.0), TARGETS)
    tally.add({0: outputs(4.0)[0], 1: outputs(4.0)[1]._replace(logits=torch.eye(2)[[1, 1]])}, TARGETS[:2])
    assert tally.blocks() == [
        {"blocks": [0, 1], "role": "local", "loss": 2.0, "terms": {"a": 2.0, "b": 1.0}, "accuracy": None},
        {"blocks": [1, 2], "role": "cascade", "loss": 2.0, "terms": {}, "accuracy": pytest.approx(100 * 4 / 6)},
    ]


def test_values_that_are_no_numbers_are_left_out():
    tally = EpochTally(WINDOWS, Classification(2), torch.device("cpu"))
    tally.add(outputs(float("inf")), TARGETS)
    assert tally.blocks()[0]["loss"] is None
    tally.add(outputs(3.0), TARGETS)
    assert tally.blocks()[0]["loss"] == 3.0


def test_the_state_goes_on():
    tally, other = (EpochTally(WINDOWS, Classification(2), torch.device("cpu")) for _ in range(2))
    for value in (0.1, 0.7, 0.3):
        tally.add(outputs(value), TARGETS)
    other.absorb(tally.state_dict())
    for both in (tally, other):
        both.add(outputs(0.9), TARGETS)
    assert tally.blocks() == other.blocks()


class Partly(Classification):
    """Counts the targets that are not 0."""

    def hits(self, logits, targets):
        return ((logits.argmax(1) == targets) & (targets > 0)).sum(), (targets > 0).sum()


class Never(Classification):
    def hits(self, logits, targets):
        return None


def test_the_task_says_what_is_counted():
    tally, silent = (EpochTally(WINDOWS, task(2), torch.device("cpu")) for task in (Partly, Never))
    for each in (tally, silent):
        each.add(outputs(1.0), TARGETS)
        each.add(outputs(1.0), TARGETS)
    assert tally.blocks()[1]["accuracy"] == pytest.approx(100 * 2 / 3)
    assert [block["accuracy"] for block in silent.blocks()] == [None, None]


def tally_of(*batches):
    tally = EpochTally(WINDOWS, Classification(2), torch.device("cpu"))
    for chosen, loss, targets in batches:
        tally.add({index: outputs(loss)[index] for index in chosen}, targets)
    return tally


def test_what_processes_summed_adds_up_to_what_one_would_have():
    first, second = TARGETS, TARGETS.flip(0)
    alone = tally_of(((0, 1), 0.25, first), ((0, 1), 0.5, second))
    by_images = [tally_of(((0, 1), 0.25, first)), tally_of(((0, 1), 0.5, second))]
    by_windows = [tally_of(((window,), 0.25, first), ((window,), 0.5, second)) for window in (1, 0)]
    for parts in (by_images, by_windows, [alone, tally_of()]):
        joined = tally_of()
        for part in parts:
            joined.absorb(part.state_dict())
        assert joined.blocks() == alone.blocks()
        own = tally_of()
        own.absorb(joined.state_dict(), only=[1])
        assert own.blocks()[1] == alone.blocks()[1] and own.blocks()[0]["loss"] is None
