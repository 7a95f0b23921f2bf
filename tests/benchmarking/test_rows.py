from __future__ import annotations

import pytest

import locallearn as ll
from locallearn.benchmarking.rows import PLAIN_NAME, ROWS, selected


def names(words):
    return [(row.name, row.precision) for row in selected(ROWS, words)]


def test_rows_are_named_once_in_each_precision_and_begin_with_plain_pytorch():
    keys = [(row.name, row.precision) for row in ROWS]
    assert len(set(keys)) == len(keys)
    assert [name for name, precision in keys if precision == "fp32"] == [name for name, _ in keys[len(keys) // 2 :]]
    assert ROWS[0].name == PLAIN_NAME and ROWS[0].method is None


def test_the_rows_that_were_promised_are_there():
    families = {row.family for row in ROWS}
    assert {"dgl", "predsim", "infopro", "auglocal", "dgl+man", "infopro+man", "mlaan", "backprop"} <= families
    assert any(row.micro_batches == 4 for row in ROWS) and any(row.memory_budget == 0.5 for row in ROWS)
    assert any(row.method == ll.Backprop() and row.execution.recompute == "blocks" for row in ROWS)
    assert {row.execution.lean for row in ROWS if row.family == "dgl"} == {"off", "in_place", "recompute"}


def test_a_choice_of_rows_keeps_what_they_are_compared_with():
    assert names(["dgl,predsim"])[0] == (PLAIN_NAME, "fp32")
    assert {name.partition(",")[0] for name, _ in names(["dgl,predsim"])} == {PLAIN_NAME, "dgl", "predsim"}
    assert {name for name, _ in names(["dgl+man, MAN++ head"])} == {PLAIN_NAME, "dgl+man, MAN++ head"}
    assert names(["mlaan", "dgl"]) == names(["dgl, mlaan"])


def test_an_unknown_row_is_refused_with_the_nearest():
    with pytest.raises(ll.InputError, match=r"no row 'dgll'\. Did you mean 'dgl'"):
        selected(ROWS, ["dgll"])
