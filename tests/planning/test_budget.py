"""The fewest blocks that fit, by measure."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest
import torch

import locallearn as ll
from locallearn.planning import budget
from locallearn.planning.budget import fewest_blocks, judged
from locallearn.planning.rehearsal import Rehearsal, Setting
from small_networks import residual

SETTING = Setting(method=ll.DGL(), batch_size=64)


@pytest.fixture(scope="module")
def rehearsal():
    return Rehearsal(lambda: residual(5, 8, dtype=torch.float32), (3, 12, 12), None, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def peaks(rehearsal):
    """The peak of every number of blocks, balanced by memory."""
    cuts = {count: rehearsal.cut(count, "memory", None, None) for count in range(1, 7)}
    return {count: rehearsal.local(blocks, SETTING)[1].peak.total for count, blocks in cuts.items()}


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("spare", [0, -1])
def test_no_more_blocks_than_needed(rehearsal, peaks, count, spare):
    limit = peaks[count] + spare
    blocks = fewest_blocks(rehearsal, SETTING, limit)
    peak = rehearsal.local(blocks, SETTING)[1].peak.total
    if limit >= min(peaks.values()):
        assert peak <= limit
        assert len(blocks.infos) <= min(k for k, balanced in peaks.items() if balanced <= limit)
    else:
        assert peak <= min(peaks.values())


@pytest.mark.parametrize("name", ["auglocal", "mlaan", "dgl+man"])
def test_methods_whose_windows_are_not_their_blocks(rehearsal, name):
    setting = replace(SETTING, method=ll.method(name))
    middle = rehearsal.local(rehearsal.cut(4, "memory", None, None), setting)[1].peak.total
    blocks = fewest_blocks(rehearsal, setting, middle)
    assert len(blocks.infos) <= 4
    assert rehearsal.local(blocks, setting)[1].peak.total <= middle


def test_what_would_help(rehearsal, peaks):
    blocks = rehearsal.cut(2, "memory", None, None)
    limit = peaks[2] // 2
    measured = rehearsal.local(blocks, SETTING)[1]
    found = judged(rehearsal, blocks, SETTING, measured, limit)
    assert not found.fits and found.missing_bytes == peaks[2] - limit

    def peak(**changes):
        return rehearsal.local(blocks, replace(SETTING, **changes))[1].peak.total

    assert peak(batch_size=found.largest_batch) <= limit < peak(batch_size=found.largest_batch + 1)
    remedies = {remedy.change: remedy for remedy in found.remedies}
    assert remedies["precision bf16"].peak_bytes == peak(precision="bf16") < peaks[2]
    assert all(remedy.fits == (remedy.peak_bytes <= limit) for remedy in found.remedies)
    everything = found.remedies[-1]
    assert len(found.remedies) == 1 or everything.peak_bytes <= min(r.peak_bytes for r in found.remedies)


def test_what_fits_needs_no_help(rehearsal, peaks):
    blocks = rehearsal.cut(2, "memory", None, None)
    found = judged(rehearsal, blocks, SETTING, rehearsal.local(blocks, SETTING)[1], peaks[2])
    assert (found.fits, found.missing_bytes, found.largest_batch, found.remedies) == (True, 0, None, ())


def test_a_method_that_suits_no_cuts(rehearsal):
    class Never(ll.DGL):
        def windows(self, partition):
            raise ll.InputError("never")

    with pytest.raises(ll.InputError, match="suits no cuts"):
        fewest_blocks(rehearsal, replace(SETTING, method=Never()), 1000)


def test_fewer_blocks_are_found_though_the_model_and_most_blocks_say_no(monkeypatch):
    class Cuts:
        count, peaks = 17, {(1,): 9}

        def __init__(self, *_):
            pass

        def least(self):
            return 17

        def fitting(self, count):
            return (1,) * count if count in (2, 3) else None

    monkeypatch.setattr(budget, "_Cuts", Cuts)
    rehearsal = types.SimpleNamespace(cut_at=lambda sizes: sizes)
    assert budget.fewest_blocks(rehearsal, None, 0) == (1, 1)
