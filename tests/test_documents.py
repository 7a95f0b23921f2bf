"""Commands and code of the README run; generated tables and result files are sound."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
import torch
import tyro

import locallearn as ll
from locallearn.cli.main import VERBS
from locallearn.cli.step_flags import StepParser, step_options

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARED_CIFAR = ROOT.parent / "shared" / "data" / "cifar10"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    for block in blocks("sh"):
        for line in block.splitlines():
            yield line.partition("#")[0].strip()


def test_the_python_block_trains_an_ordinary_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 16
    loader = [(torch.randn(4, 3, 32, 32), torch.randint(10, (4,)))] * 2
    exec(compile(code, "README.md", "exec"), {"loader": loader})
    import torchvision

    state = torch.load("resnet18.pt", weights_only=True)
    torchvision.models.resnet18(num_classes=10).load_state_dict(state, strict=True)


def test_the_method_of_the_contributing_guide_trains():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = textwrap.dedent(re.search(r"  ```python\n(.*?)  ```", text, flags=re.DOTALL)[1])
    module = types.ModuleType("greedy_method")
    sys.modules["greedy_method"] = module
    exec(compile(code, "CONTRIBUTING.md", "exec"), vars(module))
    blocks = ll.partition(ll.networks.resnet20(3), torch.zeros(2, 3, 8, 8), num_blocks=3)
    model = ll.LocalModel(blocks, ll.method("greedy_method:Greedy"), ll.Classification(3))
    outputs = model.local_backward(torch.randn(4, 3, 8, 8), torch.randint(3, (4,)))
    assert all(output.loss.isfinite() for output in outputs)


def test_first_two_commands_are_the_promised_ones():
    assert "python3 -m pip install uv && uv run locallearn train" in README
    assert "uv run pytest" in README


@pytest.mark.parametrize("command", [c for c in commands() if "locallearn ls" in c or "locallearn show" in c])
def test_listing_commands_run(command):
    arguments = shlex.split(command)[3:]
    result = subprocess.run(
        [sys.executable, "-m", "locallearn", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


PLACEHOLDERS = {"PATH": ".", "RECIPE": "digits", "runs/NAME": "runs/one", "RUN": "runs/one"}


def documented_commands():
    """Every command line of this package in README, guides and pages, as (page, verb and its words)."""
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if "_build" in path.parts:
            continue
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                words = words[words.index("&&") + 1 :] if "&&" in words else words
                if "locallearn" in words and (rest := words[words.index("locallearn") + 1 :]):
                    yield path.relative_to(ROOT).as_posix(), tuple(PLACEHOLDERS.get(word, word) for word in rest)


class Accepted(BaseException):
    """A command line was read to its end."""


@pytest.fixture
def parsing_only(monkeypatch):
    """Verbs read their flags, and stop before they do anything."""

    def reads(parse):
        def read(*args, **options):
            parse(*args, **options)
            raise Accepted

        return read

    def step(parser, argv):
        values = _parse(parser, argv)
        if values.input is not None:  # bench fills it in for the networks of its tables
            step_options(values)

    monkeypatch.setattr(tyro, "cli", reads(tyro.cli))
    monkeypatch.setattr(StepParser, "parse", reads(step))


_parse = StepParser.parse
COMMANDS = sorted(set(documented_commands()))


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value[0])
def test_documented_commands_are_read_to_their_end(page, words, parsing_only, monkeypatch):
    """Their flags are legal; what they do is tested with the command line, and the default run by the slow test."""
    verb, *arguments = words
    assert verb in VERBS, f"{page}: there is no verb {verb}"
    monkeypatch.syspath_prepend(ROOT / "examples")
    module = importlib.import_module(f"locallearn.cli.{verb.replace('-', '_')}")
    with pytest.raises(Accepted):
        module.run(arguments)


@pytest.mark.parametrize(("page", "words"), [each for each in COMMANDS if each[1][0] in ("train", "compare")])
def test_documented_trainings_resolve(page, words, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    verb, *arguments = words
    importlib.import_module(f"locallearn.cli.{verb}").resolve(arguments)


def test_commands_are_found_on_all_kinds_of_pages():
    pages = {page for page, _ in COMMANDS}
    assert {"README.md", "docs/guide_memory.md", "docs/methods/dgl.md", "docs/parallel.md"} <= pages


@pytest.mark.slow
def test_the_default_run_reaches_97_percent_and_saves_a_loadable_network(tmp_path):
    command = [sys.executable, "-m", "locallearn", "train", "--json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["test_accuracy"] >= 97
    assert summary["peak_bytes"] < summary["backprop_peak_bytes"]
    assert (tmp_path / summary["network"]).exists()


def test_generated_tables_are_fresh():
    command = [sys.executable, "-m", "benchmarks.tables", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_benchmarks_are_no_longer_than_other_files():
    files = (ROOT / "benchmarks").glob("*.py")
    assert not [path.name for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 400]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks" / "results").glob("[!b]*.json")), ids=lambda path: path.name
)
def test_result_files_say_how_they_were_made(path):
    """All but those of `locallearn bench`, which have a test of their own."""
    found = json.loads(path.read_text(encoding="utf-8"))
    assert {"benchmark", "command", "commit", "machine", "versions", "rows"} <= found.keys()
    assert found["benchmark"] == path.stem
    assert "dirty" not in found["commit"]
    assert {"processor", "threads"} <= found["machine"].keys() and {"python", "torch"} <= found["versions"].keys()
    assert found["rows"] and all(row.keys() == found["rows"][0].keys() for row in found["rows"])


def test_no_document_names_a_machine_path():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/**/*.*"), *ROOT.glob("docs/*.md")]:
        if path.suffix in (".md", ".json", ".py"):
            assert f"{ROOT.parent}/" not in path.read_text(encoding="utf-8"), path
