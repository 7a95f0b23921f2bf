from __future__ import annotations

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import locallearn as ll
from benchmarking.tiny import FORM, SETTING
from locallearn.benchmarking import memory
from locallearn.benchmarking.memory import step_memory
from locallearn.benchmarking.rows import ROWS, Row
from locallearn.benchmarking.sides import BatchForm, Setting, build
from locallearn.planning.bytes_alive import BytesAlive

NAMED = {row.name: row for row in ROWS if row.precision == "fp32"}
PLAIN = NAMED["plain PyTorch"]


def counted(name, **changes):
    return step_memory(dataclasses.replace(NAMED[name], **changes), SETTING, FORM)


def test_backprop_counts_what_plain_pytorch_does():
    plain, ours = counted("plain PyTorch"), counted("backprop")
    assert ours.bytes_saved == plain.bytes_saved and ours.flops == plain.flops
    assert ours.bytes_alive == pytest.approx(plain.bytes_alive, rel=0.05)
    assert plain.bytes_saved < plain.bytes_alive and plain.cuda_peak is None


def test_rivals_save_as_they_should():
    plain = counted("plain PyTorch")
    parts = counted("plain PyTorch, 4 micro-batches")
    assert parts.flops == plain.flops and parts.bytes_saved < 0.4 * plain.bytes_saved
    again = counted("backprop, checkpointing")
    assert again.bytes_saved is None and again.flops > 1.2 * plain.flops and again.bytes_alive < plain.bytes_alive


def test_local_learning_saves_by_every_meter():
    plain, local = counted("plain PyTorch"), counted("dgl")
    assert local.bytes_saved < 0.7 * plain.bytes_saved and local.bytes_alive < 0.8 * plain.bytes_alive
    assert local.flops != plain.flops


def test_half_precision_keeps_about_half():
    assert counted("plain PyTorch", precision="bf16").bytes_saved < 0.7 * counted("plain PyTorch").bytes_saved


def test_a_memory_budget_halves_what_a_compiled_network_keeps():
    whole, half = (counted("plain PyTorch, compiled, memory budget 0.5", memory_budget=budget) for budget in (1.0, 0.5))
    assert half.bytes_saved < 0.75 * whole.bytes_saved
    assert half.bytes_alive is None and half.flops >= whole.flops > 0
    assert whole.flops == counted("plain PyTorch").flops


def test_generated_code_is_not_counted_by_meters_that_cannot_see_it():
    found = step_memory(Row(name="dgl, compiled", method=ll.DGL(), execution=ll.Execution(compile=True)), SETTING, FORM)
    assert (found.bytes_saved, found.bytes_alive, found.flops) == (None, None, None)


def test_fake_and_real_tensors_count_the_same_in_both_layouts():
    for form in (FORM, BatchForm(size=64, channels_last=True)):
        step = build(NAMED["dgl"], SETTING, form)
        step(*form.batch(SETTING))
        with BytesAlive(*step.held()) as meter:
            step(*form.batch(SETTING))
        assert step_memory(NAMED["dgl"], SETTING, form).bytes_alive == meter.peak


def test_weights_start_alike_and_lie_as_the_batch_does():
    last = BatchForm(size=4, channels_last=True)
    one, other = (build(NAMED[name], SETTING, last).module for name in ("plain PyTorch", "dgl"))
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(other.network.state_dict()[name], weight)
    weights = [p for p in other.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert last.batch(SETTING)[0].is_contiguous(memory_format=torch.channels_last)


def test_published_cuts_where_there_are_any():
    published = Setting(network="resnet32", input_shape=(3, 32, 32), num_blocks=16)
    assert published.preset_of(NAMED["dgl"]) == "auglocal" and published.preset_of(NAMED["mlaan"]) == "mlaan"
    assert published.preset_of(NAMED["backprop, checkpointing, fewer segments"]) is None
    assert dataclasses.replace(published, num_blocks=4).preset_of(NAMED["dgl"]) is None
    assert dataclasses.replace(published, preset="infopro").preset_of(NAMED["dgl"]) == "infopro"
    assert SETTING.preset_of(NAMED["dgl"]) is None
    with FakeTensorMode():
        sizes = [len(build(NAMED[name], published, FORM).model.partition.blocks) for name in ("dgl", "infopro+man")]
        segments = build(NAMED["backprop, checkpointing, fewer segments"], published, FORM).model.partition.blocks
    assert sizes == [16, 15] and len(segments) == 6


def test_a_cuda_device_has_its_peak_measured_after_warm_up(monkeypatch):
    calls = []
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: calls.append(name) or 7)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: calls.append("clear"), raising=False)

    def built(*_):
        calls.append("build")
        return lambda *_: calls.append("step")

    monkeypatch.setattr(memory, "build", built)
    assert memory.cuda_peak(PLAIN, SETTING, FORM, warm_up=2) == 7
    assert calls == ["clear", "empty_cache", "build", "step", "step", "synchronize", "reset_peak_memory_stats", "step",
                     "synchronize", "max_memory_allocated"]  # fmt: skip


@pytest.mark.gpu
def test_the_cuda_peak_is_near_the_bytes_alive():
    setting = dataclasses.replace(SETTING, network="resnet20", input_shape=(3, 32, 32), device="cuda")
    found = step_memory(NAMED["dgl"], setting, BatchForm(size=512))
    assert found.bytes_alive <= found.cuda_peak < 2 * found.bytes_alive
