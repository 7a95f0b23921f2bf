"""Exit codes and messages of the command line, in this process and as a real command without torch."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from locallearn.cli import main as entry
from locallearn.errors import InputError, TrainingStopped

WITHOUT_TORCH = """
import sys
from locallearn.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "torchvision", "sklearn", "scipy", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


def command(*argv: str, program: tuple[str, ...] = ("-m", "locallearn")) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *program, *argv], check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("argv", "code", "stdout", "stderr"),
    [
        (["--help"], 0, "check-data", ""),
        (["train", "--help"], 0, "--training.epochs", ""),
        (["train", "--method", "infopro", "--help"], 0, "--method.reconstruction", ""),
        (["simulate", "--help"], 0, "--micro-batches", ""),
        (["simulate", "--queue", "0"], 2, "", "--queue must be at least 1, not 0"),
        (["train", "digit"], 2, "", "Did you mean 'digits'?"),
        (["train", "--training.lr", "nan"], 2, "", "training.lr = nan must be a finite number"),
        (["ls", "methods"], 0, "predsim", ""),
        (["show", "cifar10_resnet110_dgl"], 0, "test_error = 14.31", ""),
    ],
)
def test_help_and_checks_are_quick_and_do_not_import_torch(argv: list[str], code: int, stdout: str, stderr: str):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command(*argv, program=("-c", WITHOUT_TORCH))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert stdout in done.stdout and stderr in done.stderr
    # Processor seconds: what a quiet machine's clock would show.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]):
    assert entry.main([verb, "--help"]) == 0
    assert f"locallearn {verb}" in capsys.readouterr().out


def test_the_help_lists_every_verb(capsys: pytest.CaptureFixture[str]):
    assert entry.main(["--help"]) == 0
    on_request = capsys.readouterr().out
    assert entry.main([]) == 2
    unasked = capsys.readouterr().err
    assert unasked == on_request
    assert all(f"\n  {verb} " in on_request for verb in entry.VERBS)


def test_an_unknown_verb_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]):
    assert entry.main(["trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("wrong"), 2, "locallearn: wrong"),
        (TrainingStopped("block 3"), 1, "locallearn: stopped: block 3"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
    ],
)
def test_what_a_verb_raises_becomes_an_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def raises(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr("locallearn.cli.ls.run", raises)
    assert entry.main(["ls"]) == code
    assert words in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error():
    reader = subprocess.run(
        f"{sys.executable} -m locallearn show digits | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        check=False,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert reader.stderr == "" and reader.returncode == 0


def test_warnings_show_as_messages():
    program = """
import warnings
from locallearn.cli import main
main.main = lambda _: warnings.warn("said", stacklevel=1)
main.run()
"""
    assert command(program=("-c", program)).stderr == "locallearn: said\n"
