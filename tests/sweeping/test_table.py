"""The table of a sweep as its folder says it."""

from __future__ import annotations

import json

import pytest

from locallearn.errors import InputError
from locallearn.sweeping import sweep_table
from locallearn.sweeping.table import readable_rows


@pytest.mark.parametrize("text", ["{}", "[]", '{"rows": [{}]}', '{"rows": 3}', json.dumps({"rows": [], "title": "x"})])
def test_files_of_another_version_are_refused_with_what_to_do(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match=r"sweep\.json was not written by .* --resume"):
        sweep_table(tmp_path)


@pytest.mark.parametrize(("text", "said"), [(None, "holds no sweep"), ("{", "cannot be read")])
def test_folders_without_a_table_and_damaged_ones_are_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match=said):
        sweep_table(tmp_path)


def test_scores_are_read_and_losses_left_out(tmp_path):
    row = {"trial": 0, "name": "m = 1", "state": "finished", "values": {"m": 1}, "published": {}, "run": "trial-0000"}
    scores = {"score": 90.0, "test_accuracy": 90.0, "test_loss": 0.5, "validation_loss": 0.6, "peak_bytes": 7}
    told = {"title": "x", "source": "", "kind": "grid", "axis": "m", "fields": ["m"], "score": "test_accuracy"}
    told |= {"seeds": 1, "set": {}, "trials": 1, "best": 0, "rows": [row | scores]}
    (tmp_path / "sweep.json").write_text(json.dumps(told))
    assert readable_rows(sweep_table(tmp_path)) == [
        {"m": 1, "test accuracy": 90.0, "run": str(tmp_path / "trial-0000")}
    ]
