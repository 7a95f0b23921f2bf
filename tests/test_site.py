"""The documentation site: every method has a page of one shape, every public name is in the reference, guides run."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from benchmarks.method_tables import departures

import locallearn as ll
from locallearn.methods import METHODS
from small_networks import stack

DOCS = Path(__file__).parent.parent / "docs"
SECTIONS = ["Overview", "Equations", "Usage", "Departures", "Results"]
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")


def sections(text):
    """The text under every heading of the second order."""
    title, *rest = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return title, dict(zip(rest[::2], rest[1::2], strict=True))


def page(name):
    path = DOCS / "methods" / f"{name}.md"
    assert path.exists(), f"the method {name} has no page docs/methods/{name}.md"
    return sections(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_of_the_same_shape(name):
    title, found = page(name)
    assert title.strip() == f"# {name}" and list(found) == SECTIONS
    assert "Source: " in found["Overview"] and len(found["Overview"].split()) > 40
    assert found["Equations"].count("$$") >= 2 and "L" in found["Equations"]
    assert "```python" in found["Usage"] and "```sh" in found["Usage"]
    numbers = re.findall(r"^(\d+)\. ", found["Departures"], flags=re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1)) and numbers
    assert "**Test error that papers print" in found["Results"] and "| ours |" in found["Results"]
    assert f"methods/{name}\n" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_there_is_no_page_of_a_method_that_is_none():
    assert {path.stem for path in (DOCS / "methods").glob("*.md")} == METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_every_departure_of_the_docstring_is_a_point_of_the_page(name):
    points = [point.partition(". ")[2] for point in departures(name).splitlines()]
    doc = " ".join((METHODS[name].__doc__ or "").split())
    assert all(point and point in doc for point in points)
    assert f"Departures: {' '.join(points)}" in doc


@pytest.mark.parametrize("name", METHODS)
def test_usage_on_method_pages_runs(name):
    """Against a small network; the first line's model takes a step."""
    (code,) = re.findall(r"```python\n(.*?)```", page(name)[1]["Usage"], flags=re.DOTALL)
    blocks = ll.partition(stack([4, 4, 4, 4], dtype=torch.float32), torch.zeros(2, 3, 8, 8), num_blocks=4)
    names = {"ll": ll, "blocks": blocks}
    exec(compile(code.replace("Classification(10)", "Classification(3)"), f"{name}.md", "exec"), names)
    outputs = names["model"].local_backward(torch.zeros(6, 3, 8, 8), torch.arange(6) % 3)
    assert all(output.loss.isfinite() for output in outputs)
    assert type(names["model"].method) is METHODS[name]


def test_the_loop_of_the_guide_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "guide_memory.md").read_text(encoding="utf-8"), re.DOTALL)
    names = {"ll": ll, "torch": torch, "torchvision": torchvision}
    names |= {"images": torch.randn(4, 3, 32, 32), "labels": torch.arange(4)}
    exec(compile(code, "guide_memory.md", "exec"), names)
    assert len(names["blocks"].blocks) == 4


def packages():
    """This package and its rooms that list public names."""
    rooms = [room.name for room in pkgutil.iter_modules(ll.__path__, "locallearn.") if room.ispkg]
    return [name for name in ["locallearn", *rooms] if hasattr(importlib.import_module(name), "__all__")]


def documented():
    """Which objects the reference shows, by their identity: two rooms may call two things alike."""
    found = set()
    for name in re.findall(r"automodule:: (\S+)\n   :members:", REFERENCE):
        module = importlib.import_module(name)
        found |= {id(module), *(id(getattr(module, each)) for each in module.__all__)}
    for target in re.findall(r"auto(?:class|function|data|exception):: (\S+)", REFERENCE):
        module, _, name = target.rpartition(".")
        found.add(id(getattr(importlib.import_module(module), name)))
    return found


@pytest.mark.parametrize("package", packages())
def test_every_public_name_is_in_the_reference(package):
    module = importlib.import_module(package)
    covered = documented()
    missing = [name for name in module.__all__ if id(getattr(module, name)) not in covered]
    assert not missing, f"enter {sorted(missing)} into docs/reference.md, or .. automodule:: {package} with :members:"


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    built = (tmp_path / "reference.html").read_text(encoding="utf-8")
    for name in packages()[1:]:
        for public in importlib.import_module(name).__all__:
            assert re.search(rf'id="locallearn\.[\w.]*{public}"', built), f"{name}.{public}"
    assert r"\theta_{E_k}" in (tmp_path / "methods" / "man.html").read_text(encoding="utf-8")


def test_the_site_lists_every_page():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md"):
        name = path.relative_to(DOCS).with_suffix("").as_posix()
        if not name.startswith("_build") and name != "index":
            assert re.search(rf"^{re.escape(name)}$", index, flags=re.MULTILINE), f"{name} is in no table of contents"


def test_every_example_is_on_the_site():
    shown = (DOCS / "examples.md").read_text(encoding="utf-8")
    for path in (DOCS.parent / "examples").glob("*.py"):
        assert f"literalinclude}} ../examples/{path.name}" in shown, path.name
