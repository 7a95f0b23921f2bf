"""The page's example is what the command prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from locallearn.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_is_what_is_printed(capsys):
    command = re.search(r"```sh\nlocallearn (plan .*) --plot", PAGE).group(1)
    assert main.main(command.split()) == 0
    assert capsys.readouterr().out.strip() == re.search(r"```text\n(.*?)```", PAGE, re.S).group(1).strip()
