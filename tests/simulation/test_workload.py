"""Costs, their shares, and the file they are read from."""

from __future__ import annotations

import json
import math

import pytest

from locallearn.errors import InputError
from locallearn.simulation.workload import BlockCost, Link, Workload, workload_from

BLOCK = BlockCost(1, 2, 3, 4, 5, 6, update=0.5, auxiliary_kept_bytes=7, auxiliary_parameter_bytes=2, followed_bytes=9)


def test_a_share_of_the_batch():
    half = BLOCK.scaled(0.5)
    assert (half.forward, half.backward, half.auxiliary) == (0.5, 1, 1.5)
    assert (half.output_bytes, half.kept_bytes, half.auxiliary_kept_bytes) == (2, 2.5, 3.5)
    assert (half.parameter_bytes, half.update, half.followed_bytes) == (6, 0.5, 9)
    assert BLOCK.seconds == 6.5 and BLOCK.trained_bytes == 8
    assert Workload((BLOCK,), 8).scaled(4) == Workload((half,), 4)


def test_back_propagation_has_the_last_objective_alone():
    first, last = Workload((BLOCK, BLOCK), 8, end_to_end_backward=1.5).end_to_end().blocks
    assert first == BlockCost(1, 3, 0, 4, 5, 6, update=0.5 * 6 / 8)
    assert last.auxiliary == 3 and last.backward == 3 and last.auxiliary_kept_bytes == 7


def test_an_average_of_replicas():
    link = Link(bandwidth=10, latency=0.1)
    assert link.averaging(100, 2) == pytest.approx(10 + 0.2)
    assert link.averaging(100, 5) == pytest.approx(16 + 0.6)
    assert Link().averaging(100, 512) == 0 and link.averaging(100, 1) == 0


def test_a_file_reads_back(tmp_path):
    path = tmp_path / "costs.json"
    workload = Workload((BLOCK, BLOCK.scaled(2)), 8, end_to_end_backward=1.25)
    path.write_text(workload.json())
    assert workload_from(path) == workload
    short = dict.fromkeys(("forward", "backward", "auxiliary", "output_bytes", "kept_bytes", "parameter_bytes"), 1)
    path.write_text(json.dumps({"batch_size": 2, "blocks": [short]}))
    assert workload_from(path) == Workload((BlockCost(1, 1, 1, 1, 1, 1),), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batchsize": 2}, "batchsize"),
        ({"blocks": []}, "at least one block"),
        ({"blocks": [{"forward": 1}]}, r"blocks.0.backward.*\n.*blocks.0.auxiliary"),
        ({"blocks": [vars(BLOCK) | {"speed": 1}]}, "blocks.0.speed"),
        ({"blocks": [vars(BLOCK) | {"forward": -1}]}, "forward is -1"),
        ({"blocks": [vars(BLOCK) | {"forward": "fast"}]}, "blocks.0.forward"),
        ({"end_to_end_backward": 0}, "end_to_end_backward"),
    ],
)
def test_files_that_are_refused(tmp_path, change, message):
    path = tmp_path / "costs.json"
    path.write_text(json.dumps({"batch_size": 2, "blocks": [vars(BLOCK)]} | change))
    with pytest.raises(InputError, match=rf"(?s)costs.json.*{message}"):
        workload_from(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        workload_from(tmp_path / "missing.json")
    (tmp_path / "costs.json").write_text("{")
    with pytest.raises(InputError, match="JSON"):
        workload_from(tmp_path / "costs.json")


def test_costs_and_links_that_make_no_sense():
    with pytest.raises(InputError, match="backward is nan, kept_bytes is inf"):
        BlockCost(1, math.nan, 1, 1, math.inf, 1)
    with pytest.raises(InputError, match="no time at all"):
        Workload((BlockCost(0, 0, 0, 1, 1, 1),), 1)
    with pytest.raises(InputError, match="bandwidth"):
        Link(bandwidth=0)
    with pytest.raises(InputError, match="latency"):
        Link(latency=-1)
