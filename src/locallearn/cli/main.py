"""The command line: finds the verb, and turns what goes wrong into a message and an exit code."""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from locallearn.errors import InputError, TrainingStopped

REFUSED = 2
VERBS = (
    "train",
    "compare",
    "bench",
    "evaluate",
    "export",
    "plan",
    "simulate",
    "probe",
    "similarity",
    "features",
    "curves",
    "profile",
    "exits",
    "agreement",
    "report",
    "sweep",
    "ls",
    "show",
    "check-data",
)


def run() -> None:
    """Run the command line of this process and exit by its code; warnings show as messages, without source lines."""
    warnings.formatwarning = lambda message, *_: f"locallearn: {message}\n"
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run a command line.

    Args:
        argv: Words after `locallearn`.

    Returns:
        0; 2 for a mistake of the user's; 1 for a run that stopped; 130 after Ctrl-C and 143 after SIGTERM, which
        training answers once its state is saved.
    """
    try:
        code = _dispatch(argv)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _told(f"locallearn: {error}", REFUSED)
    except (TrainingStopped, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _told(f"locallearn: stopped: {error}", 1)
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _dispatch(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    verb, *rest = argv
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"There is no verb {verb!r}.{hint} The verbs are {', '.join(VERBS)}.")
    return _module(verb).run(rest)


def _help() -> str:
    lines = [f"  {verb:<12}{_first_line(verb)}" for verb in VERBS]
    return "\n".join(
        [
            "usage: locallearn VERB ...",
            "",
            "Train PyTorch networks in gradient-isolated blocks.",
            "",
            *lines,
            "",
            "locallearn VERB --help lists a verb's flags; locallearn train runs the recipe 'digits'.",
        ]
    )


def _first_line(verb: str) -> str:
    # Read, not imported: what a verb needs may be missing.
    source = Path(__file__).with_name(f"{verb.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _module(verb: str) -> ModuleType:
    try:
        return importlib.import_module(f"locallearn.cli.{verb.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "locallearn":
            raise
        raise InputError(
            f"locallearn {verb} needs {error.name}, which is not installed: pip install {error.name}."
        ) from None


def _told(message: str, code: int) -> int:
    # Of processes that torchrun started, the first one tells what is wrong in all, in one piece.
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        sys.stderr.write(f"{message}\n")
    elif code != REFUSED:
        sys.stderr.write(f"process {rank}: {message}\n")
    sys.stderr.flush()
    return code
