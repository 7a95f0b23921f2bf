"""The settings of the documentation site: what a docstring and README.md write here builds, and faults are told."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONF = Path(__file__).parent.parent / "docs" / "conf.py"
README = "# locallearn\n\n[page](docs/page.md), [other file](notes/other.md), [elsewhere](https://example.org)\n"
INDEX = """# locallearn

```{include} ../README.md
:start-after: "# locallearn"
```

```{toctree}
page
```
"""
PAGE = """# Page

[First page](index.md)

```{eval-rst}
.. automodule:: documented
   :members:
```
"""
MODULE = '''"""A module."""

MARK: int = 3
"""What is set: `cuda:1`, or none. Source: a paper."""


def halved(shape):
    """Half of `(B, *shape)`, as :func:`halved` has it; ``whole`` is none.

    Source: Somebody. A title: a subtitle. With
        `Execution(recompute="blocks",
        name="x")` it is half.
    Departures: None.

    Args:
        shape: `"one"`: one half.

    Returns:
        (B, ...).
    """
'''
FILES = {
    "README.md": README,
    "docs/index.md": INDEX,
    "docs/page.md": PAGE,
    "documented.py": MODULE,
    "notes/other.md": "#",
}


def build(folder, monkeypatch, **texts):
    """The built site of a small repository with the settings of ours, and what was told of it."""
    for name, text in (FILES | texts).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copy(CONF, folder / "docs")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(folder / "docs"), str(folder / "site")]
    return folder / "site", subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def builder():
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")


@pytest.mark.slow
def test_links_of_the_readme_and_docstrings_of_the_house_build(tmp_path, monkeypatch):
    site, result = build(tmp_path, monkeypatch)
    assert result.returncode == 0, result.stderr
    first = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="page.html"' in first and 'href="https://example.org"' in first
    (fetched,) = re.findall(r'href="(_downloads/\w+/other.md)"', first)
    assert (site / fetched).read_text(encoding="utf-8") == "#"
    page = (site / "page.html").read_text(encoding="utf-8")
    assert all(f">{part}<" in page for part in ("Source", "Departures", "Parameters", "Returns"))
    assert "<cite>" not in page and ">Type<" not in page and "cuda:1" in page and 'href="#documented.halved"' in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("docs/page.md", "(index.md)", "(gone.md)", "gone.md"),
        ("README.md", "docs/page.md", "docs/gone.md", "gone.md"),
        ("README.md", "notes/other.md", "notes/gone.md", "gone.md"),
        ("documented.py", "`(B, *shape)`", "(B, *shape)", "documented.halved"),
        ("documented.py", ":func:`halved`", ":func:`doubled`", "doubled"),
    ],
)
def test_a_fault_is_told(name, before, after, told, tmp_path, monkeypatch):
    assert before in FILES[name]
    _, result = build(tmp_path, monkeypatch, **{name: FILES[name].replace(before, after)})
    assert result.returncode != 0 and re.search(rf"WARNING: .*{told}|{told}.*WARNING", result.stderr), result.stderr
