"""The two errors a user of the library meets, and how their messages list problems and commands."""

from __future__ import annotations

import shlex


class InputError(ValueError):
    """What the caller gave cannot be used; the message says what, where, and what to do instead."""


class TrainingStopped(RuntimeError):
    """A run that had started cannot go on; the message names the block and the step and what remains on disk."""


def command(*words: object) -> str:
    """A command to run, as it can be pasted into a shell.

    Args:
        words: The verb and what follows it.

    Returns:
        The line, with quotes where a path needs them.
    """
    return shlex.join(["locallearn", *map(str, words)])


def listed(problems: list[str]) -> str:
    """Several problems as the lines of one message.

    Args:
        problems: At least one sentence each saying what is wrong and what to do.

    Returns:
        The sentence itself if there is one, else a line for each.
    """
    return problems[0] if len(problems) == 1 else "\n" + "\n".join(f"- {problem}" for problem in problems)
