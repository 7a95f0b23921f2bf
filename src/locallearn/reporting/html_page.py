"""A report as one HTML page that needs nothing else: no script, no font, no file, no network."""

from __future__ import annotations

import re
from html import escape
from importlib import resources
from itertools import count, groupby

from locallearn.plotting.figure_file import styled
from locallearn.plotting.svg_text import svg_text
from locallearn.reporting.document import (
    MISSING,
    SOURCES,
    Chart,
    Gap,
    Marks,
    Note,
    Part,
    Report,
    Row,
    Section,
    Source,
    Table,
    Verdict,
)
from locallearn.reporting.drawing import drawn

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_NUMBER = re.compile(r"[-+]?[\d.,]+( ?[%a-zA-Z]+| ± [\d.]+)?( \(\d[\d, ]*\))?")
_LONG = 24
"""Letters from which on a cell needs room."""


def html_page(report: Report) -> str:
    """The report as a page.

    Args:
        report: What it says.

    Returns:
        HTML; wide tables scroll within themselves, colours follow the reader's scheme.
    """
    marks, numbers = report.marks(), count(1)
    sections = [(f"part-{next(numbers)}", section) for section in report.sections]
    links = [*((name, section.title) for name, section in sections), ("sources", SOURCES)]
    contents = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in links)
    body = "\n".join(_section(section, marks, level=2, name=name) for name, section in sections)
    style = resources.files("locallearn.reporting").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(report.title)}</h1>
<p class="lead">{_prose(report.lead)}</p>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
</header>
<main>
{body}
{_sources(marks)}
</main>
</body>
</html>
"""


def _section(section: Section, marks: Marks, *, level: int, name: str | None = None) -> str:
    anchor = f' id="{name}"' if name else ""
    parts: list[str] = []
    for charted, group in groupby(section.parts, key=lambda part: isinstance(part, Chart)):
        shown = "".join(_part(part, marks) for part in group)
        parts.append(f'<div class="charts">{shown}</div>' if charted else shown)
    smaller = "\n".join(_section(each, marks, level=level + 1) for each in section.sections)
    heading = f"<h{level}>{escape(section.title)}</h{level}>"
    return f"<section{anchor}>\n{heading}\n{''.join(parts)}\n{smaller}</section>"


def _part(part: Part, marks: Marks) -> str:
    match part:
        case Note():
            return f"<p>{_prose(part.text)}</p>"
        case Gap():
            commands = "".join(f"<li><code>{escape(command)}</code></li>" for command in part.commands)
            return f'<div class="gap"><p>{escape(part.what)}: run</p><ul>{commands}</ul></div>'
        case Chart():
            with styled():
                picture = svg_text(drawn(part), alt=f"{part.title}. {part.alt}")
            return (
                f"<figure>{picture}<figcaption>{escape(part.title)}{_mark(part.sources, marks)}</figcaption></figure>"
            )
        case Table():
            return _table(part.columns, part.rows, part.caption, marks)


def _table(columns: tuple[str, ...], rows: tuple[Row, ...], caption: str, marks: Marks) -> str:
    numeric = [
        # The first column names the rows, be it with numbers.
        i > 0 and all(_NUMBER.fullmatch(row.cells[i]) or row.cells[i] in (MISSING, "-") for row in rows)
        for i in range(len(columns))
    ]
    head = "".join(
        f'<th scope="col"{_aligned(right)}>{escape(name)}</th>' for name, right in zip(columns, numeric, strict=True)
    )
    body = "\n".join(_row(row, numeric, marks) for row in rows)
    return (
        f'<p class="caption">{escape(caption)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def _row(row: Row, numeric: list[bool], marks: Marks) -> str:
    first, *others = row.cells
    cells = "".join(
        f"<td{_aligned(right, letters=len(cell))}>{_cell(cell)}</td>"
        for cell, right in zip(others, numeric[1:], strict=True)
    )
    # The mark stays with the last word.
    before, _, last = first.rpartition(" ")
    name = f'{escape(before)} <span class="marked">{escape(last)}{_mark(row.sources, marks)}</span>'
    return f'<tr><th scope="row">{name.strip()}</th>{cells}</tr>'


def _cell(cell: str | Verdict) -> str:
    if isinstance(cell, Verdict):
        return f'<span class="verdict {cell.name.lower()}">{escape(cell)}</span>'
    return f'<span class="missing">{MISSING}</span>' if cell == MISSING else escape(cell)


def _aligned(right: bool, *, letters: int = 0) -> str:
    return (
        ' class="number"' if right else "" if letters == 0 else ' class="long"' if letters > _LONG else ' class="short"'
    )


def _mark(sources: tuple[Source, ...], marks: Marks) -> str:
    if not sources:
        return ""
    mark = marks[sources]
    return f'<sup><a href="#source-{mark}" aria-label="source {mark}">{mark}</a></sup>'


def _sources(marks: Marks) -> str:
    rows = []
    for sources, mark in marks.items():
        for place, source in enumerate(sources):
            first = (
                f'<th scope="rowgroup" rowspan="{len(sources)}" id="source-{mark}">{mark}</th>' if place == 0 else ""
            )
            cells = "".join(f"<td>{escape(text)}</td>" for text in (source.folder, source.file, source.where))
            rows.append(f"<tr>{first}{cells}</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("mark", "run", "file", "where"))
    return (
        f'<section id="sources"><h2>{SOURCES}</h2><p>The small number beside a row or a chart stands here.</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{SOURCES}"><table class="sources">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _prose(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
