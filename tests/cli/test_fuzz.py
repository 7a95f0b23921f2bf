"""Wrong recipes and flags by the thousand: each is accepted or refused in words, and nothing is written."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from locallearn.cli.train import resolve
from locallearn.errors import InputError
from locallearn.recipes import Recipe, checked, dumped, load, names, read
from locallearn.recipes.problems import paths

VALUES: list[Any] = [
    *(0, -1, 1, 2, 3.5, -0.0, 1e-9, 1e308, 10**30, float("nan"), float("inf"), -float("inf"), True, False),
    *(
        "",
        "x",
        "digits",
        "dgl",
        "3",
        "None",
        "ü\u2028\x7f",
        "../..",
        "a.b:c",
        "nowhere:thing",
        [],
        [1],
        ["a", 2],
        [[]],
        {},
    ),
    *({"a": 1}, {"name": "dgl"}, {"name": 3}, {"": {}}, tomllib.loads("a = 2026-01-01")["a"], [0.9, 0.99, 0.999]),
]
WORDS = [
    "nan",
    "-1",
    "0",
    "1e400",
    "None",
    "",
    "x",
    "--",
    "-",
    "--json",
    "--no-json",
    "=",
    "--=",
    "--resume",
    "ü",
    "'",
    "--out",
]
SHIPPED = [load(name) for name in names()]
TEXTS = [dumped(recipe) for recipe in SHIPPED]


def typo(word: str, draw: random.Random) -> str:
    position = draw.randrange(len(word) + 1)
    return word[:position] + draw.choice(["", "x", "_", word[:1]]) + word[position + draw.randrange(2) :]


def wrong_tables(draw: random.Random) -> dict[str, Any]:
    """A shipped recipe with one to three entries changed, misspelt, moved or removed."""
    tables = draw.choice(SHIPPED).model_dump(exclude_none=True, mode="json")
    for _ in range(draw.randint(1, 3)):
        table, key = tables, draw.choice([*tables, "method", "training"])
        while isinstance(table.get(key), dict) and table[key] and draw.random() < 0.8:
            table = table[key]
            key = draw.choice([*table])
        value = table.pop(key, 1)
        match draw.randrange(4):
            case 0:
                table[typo(key, draw)] = value
            case 1:
                table[draw.choice(paths(Recipe)).rpartition(".")[2]] = value
            case 2:
                table[key] = draw.choice(VALUES)
            case _:
                pass
    return tables


def wrong_text(draw: random.Random) -> str:
    """A shipped recipe's text with some characters lost, doubled or replaced."""
    text = draw.choice(TEXTS)
    for _ in range(draw.randint(1, 4)):
        position = draw.randrange(len(text))
        text = (
            text[:position]
            + draw.choice(["", "\n", "[", "]", '"', "=", "-", "nan", "9", "\x00", "#"])
            + text[position + 1 :]
        )
    return text


def wrong_flags(draw: random.Random) -> list[str]:
    """Flags of which some are misspelt, lack a value or have a wrong one."""
    argv = [draw.choice(["digits", "digit", "cifar10_resnet32_dgl", ""])] if draw.random() < 0.3 else []
    for _ in range(draw.randint(1, 3)):
        flag = "--" + draw.choice([*paths(Recipe), "method", "num-blocks", "batch-size", "method.head", "method.beta"])
        flag = typo(flag, draw) if draw.random() < 0.3 else flag
        value = draw.choice([*WORDS, *map(str, VALUES[:12]), "dgl", "predsim", "infopro"])
        argv += [f"{flag}={value}"] if draw.random() < 0.3 else [flag, value]
    return argv


def outcome(refused: Any) -> str:
    """What a user reads, nothing if the input was accepted; any other error is the test's failure."""
    try:
        refused()
    except InputError as error:
        return str(error)
    except SystemExit as stop:
        assert not stop.code
    return ""


def test_tables_are_accepted_or_refused_by_key_path():
    draw, seen = random.Random(0), {"accepted": 0, "refused": 0}
    for _ in range(1_100):
        tables = wrong_tables(draw)
        message = outcome(lambda tables=tables: checked(tables, where="recipe 'mine'"))
        seen["refused" if message else "accepted"] += 1
        assert not message or (message.startswith("recipe 'mine': ") and len(message) > 25)
        if not message:
            recipe = checked(tables, where="recipe")
            assert checked(tomllib.loads(dumped(recipe)), where="saved") == recipe
    assert min(seen.values()) > 50


def test_texts_are_accepted_or_refused(tmp_path: Path):
    draw, messages = random.Random(1), []
    path = tmp_path / "mine.toml"
    for _ in range(720):
        path.write_text(wrong_text(draw), encoding="utf-8")
        messages.append(outcome(lambda: load(path)))
    assert sum("not TOML" in message for message in messages) > 50 and sum(not message for message in messages) > 50


def test_flags_are_accepted_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    draw, messages = random.Random(2), []
    for _ in range(180):
        argv = wrong_flags(draw)
        with contextlib.redirect_stdout(io.StringIO()):
            messages.append(outcome(lambda argv=argv: resolve(argv)))
    assert sum(bool(message) for message in messages) > 60
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--training.epochs", "0"], "training.epochs = 0"),
        (["train", "--training.lr", "-inf"], "training.lr = -inf"),
        (["train", "--trainig.lr", "1"], "--training.lr"),
        (["train", "--method", "dlg"], "'dgl'"),
        (["train", "--method.haed", "x"], "--method.head"),
        (["train", "nowhere.toml"], "nowhere.toml"),
        (["train", "--resume", "."], "holds no run"),
        (["train", "broken.toml"], "line 1"),
        (["train", "typo.toml"], "training.lrr is not a key of this section. Did you mean 'lr'?"),
        (["show", "typo.toml"], "training.lrr is not a key of this section. Did you mean 'lr'?"),
        (["train", "--num-blocks", "0"], "partition.num_blocks = 0"),
        (["train", "--seed", "-1"], "seed = -1"),
        (["train", "--precision", "fp8"], "fp8"),
        (["train", "--training.momentum", "1.5"], "training.momentum = 1.5"),
        (["train", "--network.name", "resnet21"], "'resnet32'"),
        (["compare", "digits", "--methods", "backprop", "dlg"], "'dgl'"),
        (["compare", "digits", "--methods", "dgl", "dgl"], "different methods"),
        (["evaluate", "."], "holds no run"),
        (["check-data", "cifar11"], "'cifar10'"),
        (["frobnicate"], "There is no verb 'frobnicate'"),
    ],
)
def test_as_real_commands(argv: list[str], words: str, tmp_path: Path):
    tables = read("digits")
    tables["training"]["lrr"] = tables["training"].pop("lr")
    (tmp_path / "typo.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    (tmp_path / "broken.toml").write_text("title = \n", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-m", "locallearn", *argv]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before
