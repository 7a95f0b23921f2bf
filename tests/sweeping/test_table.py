"""The table of a sweep as its folder says it."""

from __future__ import annotations

import json

import pytest

from locallearn.errors import InputError
from locallearn.sweeping import sweep_table


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
