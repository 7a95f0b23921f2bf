"""Who has which blocks and which part of the batch, and how that is written on the command line."""

from __future__ import annotations

import pytest

from locallearn.errors import InputError
from locallearn.parallel.layout import Layout, parsed_layout


@pytest.mark.parametrize("layout", [Layout(), Layout(1, 4), Layout(3, 1), Layout(3, 2)])
def test_every_place_has_one_process_and_those_of_the_same_blocks_are_neighbours(layout):
    ranks = [layout.rank(stage, replica) for stage in range(layout.blocks) for replica in range(layout.replicas)]
    assert ranks == list(range(layout.processes))
    for rank in ranks:
        assert layout.rank(layout.stage(rank), layout.replica(rank)) == rank
        assert 0 <= layout.stage(rank) < layout.blocks and 0 <= layout.replica(rank) < layout.replicas


@pytest.mark.parametrize(
    ("text", "processes", "layout"),
    [
        (None, 1, Layout(1, 1)),
        (None, 3, Layout(1, 3)),
        ("blocks=2,data=3", 6, Layout(2, 3)),
        ("data=3,blocks=2", 6, Layout(2, 3)),
        ("blocks=2", 2, Layout(2, 1)),
        ("blocks=2", 8, Layout(2, 4)),
        ("data=2", 8, Layout(4, 2)),
        ("data=4", 4, Layout(1, 4)),
        ("blocks=10,data=12", 120, Layout(10, 12)),
    ],
)
def test_what_is_left_out_is_what_remains(text, processes, layout):
    assert parsed_layout(text, processes) == layout
    assert parsed_layout(str(layout), processes) == layout


@pytest.mark.parametrize(
    "text",
    ["blocks", "blocks=", "blocks=two", "blocks=2;data=2", "blocks=2,", "blocks=2,blocks=2", "rows=2", "2", "-1"],
)
def test_another_form_is_refused_with_an_example(text):
    with pytest.raises(InputError, match=r"is not of the form blocks=2,data=2"):
        parsed_layout(text, 4)


@pytest.mark.parametrize("text", ["blocks=0", "data=0", "blocks=0,data=2"])
def test_nobody_is_no_layout(text):
    with pytest.raises(InputError, match="at least one process each way"):
        parsed_layout(text, 2)


@pytest.mark.parametrize(
    ("text", "processes", "words"),
    [
        ("blocks=2,data=2", 3, r"blocks=2,data=2 needs 4 processes and 3 are there.*--nproc-per-node 4"),
        ("blocks=3", 4, r"blocks=3,data=1 needs 3 processes and 4 are there"),
        ("data=4", 3, r"blocks=1,data=4 needs 4 processes and 3 are there"),
        ("blocks=2", 1, r"needs 2 processes and 1 is there: start it by torchrun --nproc-per-node 2"),
    ],
)
def test_another_number_of_processes_is_refused_with_the_command(text, processes, words):
    with pytest.raises(InputError, match=words):
        parsed_layout(text, processes)
