"""Imports point one way: each room may import only from rooms of lower levels."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "locallearn"
LEVELS = [
    {"errors", "atomic_file", "checkout", "precision", "recomputation", "lean"},
    {"extras", "field_types", "plotting"},
    {"metrics"},
    {"execution", "losses", "auxiliary", "networks", "datasets"},
    {"tasks"},
    {"partitioning", "objective"},
    {"abstract_method", "engine", "look_ahead"},
    {"averaging", "compatibility", "predicting"},
    {"methods", "local_model"},
    {"recipes", "planning", "simulation"},
    {"benchmarking", "parallel"},
    {"training"},
    {"analysis"},
    {"sweeping"},
    {"reporting"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
DATA_OWNERS = {"info", "recipe", "options", "recipes[0]", "self.recipe"}
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def type_checking_lines(tree):
    """Lines of imports that exist for annotations alone."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found |= {inner.lineno for inner in ast.walk(node) if hasattr(inner, "lineno")}
    return found


def imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    annotations = type_checking_lines(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.lineno not in annotations:
            names = [alias.name for alias in node.names] if node.module == "locallearn" else []
            yield from (f"locallearn.{name}" for name in names) if names else [node.module]
        elif isinstance(node, ast.Import) and node.lineno not in annotations:
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    room = room_of(path)
    assert room in LEVEL_OF, f"{room} has no level"
    for module in imported(path):
        parts = module.split(".")
        if parts[0] != "locallearn" or len(parts) == 1 or room == "__init__":
            continue
        assert parts[1] == room or LEVEL_OF[parts[1]] < LEVEL_OF[room], f"{path.name} imports {module}"


def test_methods_import_no_other_but_the_base_they_have_by_default():
    for path in (SOURCE / "methods").glob("[!_]*.py"):
        others = {module for module in imported(path) if module.startswith("locallearn.methods")}
        allowed = {"locallearn.methods.dgl"} if path.stem in ("auglocal", "man", "mlaan") else set()
        assert others <= allowed, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_forbidden_constructs(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"exec", "eval"}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "data"]
    assert not [node for node in attributes if ast.unparse(node.value) not in DATA_OWNERS]
    assert "weights_only=False" not in path.read_text(encoding="utf-8")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert path.name != "utils.py"


@pytest.mark.parametrize(
    "module", ["methods", "recipes.load", "cli.main", "datasets.spec", "datasets.registry", "atomic_file"]
)
def test_configuration_does_not_import_torch(module):
    code = f"import sys, locallearn.{module}; print([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
