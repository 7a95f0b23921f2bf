"""The calls that the documents show."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "analyses.md"


def test_the_calls_from_python_run_as_printed(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "cmp").mkdir(parents=True)
    for name in ("dgl", "backprop"):
        (tmp_path / "runs" / "cmp" / name).symlink_to(runs[name])
    monkeypatch.chdir(tmp_path)
    (shown,) = re.findall(r"## From Python\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(shown, str(PAGE), "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and 0 < float(said[0]) <= 1 and "EarlyExit" in said[2] and -1 < float(said[3]) < 1
