"""Sphinx configuration: MyST pages, and the reference from docstrings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "locallearn"
author = "the locallearn authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # types of signatures, most of them of other libraries, have no entry here


def as_literal(quoted: re.Match[str]) -> str:
    """Quoted code as an inline literal; a role, such as :func:, stays."""
    return quoted[0] if quoted[0].startswith(":") else f"``{quoted[0].strip('`')}``"


def adapt_docstring(_app: Sphinx, what: str, _name: str, _obj: object, _options: Any, lines: list[str]) -> None:
    """Writes the way of docutils what docstrings here write in their own: `code`, and the parts Source and Departures.

    Args:
        what: The kind of the documented object.
        lines: The docstring, changed in place, before Napoleon reads it.
    """
    text = re.sub(r":\w+:`[^`]+`|`+[^`]+`+", as_literal, "\n".join(lines))
    text = re.sub(r"^(Source|Departures):", r":\1:", text, flags=re.MULTILINE)
    lines[:] = text.split("\n")
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # else Napoleon takes what is left of a colon in the first line for a type


def adapt_links(_app: Sphinx, path: Path, _parent: str, content: list[str]) -> None:
    """Lets README.md, a part of the first page, link to pages, and to the repository's other files as downloads.

    Args:
        path: The included file, relative to the folder of the pages.
        content: Its text, changed in place.
    """
    if path.name == "README.md":
        content[0] = re.sub(r"\]\((?!docs/|https?:|#)", "](path:../", content[0]).replace("](docs/", "](")


def setup(app: Sphinx) -> None:
    """Connects the above; Napoleon has the priority 500."""
    app.connect("autodoc-process-docstring", adapt_docstring, priority=400)
    app.connect("include-read", adapt_links)
