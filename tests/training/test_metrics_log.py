from __future__ import annotations

import pytest

from locallearn.errors import InputError
from locallearn.training.metrics_log import JsonLines


def test_records_come_back_in_order(tmp_path):
    log = JsonLines(tmp_path / "metrics.jsonl")
    assert (log.position, log.records()) == (0, [])
    for epoch in (1, 2):
        log.append({"epoch": epoch, "loss": 0.1 * epoch, "none": None})
    assert log.records() == [{"epoch": 1, "loss": 0.1, "none": None}, {"epoch": 2, "loss": 0.2, "none": None}]


def test_what_came_after_a_position_is_forgotten_and_the_rest_keeps_its_bytes(tmp_path):
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.append({"epoch": 1})
    position, content = log.position, log.path.read_bytes()
    log.append({"epoch": 2})
    log.truncate(position)
    assert log.path.read_bytes() == content
    log.truncate(0)
    assert log.records() == []


def test_a_file_shorter_than_the_position_is_refused(tmp_path):
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.append({"epoch": 1})
    with pytest.raises(InputError, match=r"metrics\.jsonl has 13 bytes but the checkpoint saw 99"):
        log.truncate(99)


def test_no_record_holds_nan(tmp_path):
    log = JsonLines(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.append({"loss": float("nan")})
    assert log.position == 0


def test_a_line_that_is_cut_short_is_named(tmp_path):
    log = JsonLines(tmp_path / "log.jsonl")
    log.append({"epoch": 1})
    for cut in ('{"epo', "[1]"):
        log.path.write_text('{"epoch": 1}\n' + cut)
        with pytest.raises(InputError, match=r"Line 2 of .*log.jsonl is no record"):
            log.records()
