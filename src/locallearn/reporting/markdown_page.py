"""A report as Markdown, with its charts as files beside it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from locallearn.reporting.document import SOURCES, Chart, Gap, Marks, Note, Part, Report, Row, Section, Source, Table


def markdown_page(report: Report, *, files: str) -> tuple[str, dict[str, Chart]]:
    """The report as Markdown.

    Args:
        report: What it says.
        files: Name of the folder beside the page that gets the charts.

    Returns:
        The text, and the charts by the names of their files in that folder.
    """
    marks, charts = report.marks(), dict[str, Chart]()
    lines = [f"# {_plain(report.title)}", _plain(report.lead)]
    for section in report.sections:
        lines += _section(section, marks, charts, files, level=2)
    lines += [f"## {SOURCES}", "The number in brackets beside a row or a chart stands here.", _sources(marks)]
    return "\n\n".join(lines) + "\n", charts


def _section(section: Section, marks: Marks, charts: dict[str, Chart], files: str, *, level: int) -> list[str]:
    lines = [f"{'#' * level} {_plain(section.title)}"]
    for part in section.parts:
        lines.append(_part(part, marks, charts, files))
    for smaller in section.sections:
        lines += _section(smaller, marks, charts, files, level=level + 1)
    return lines


def _part(part: Part, marks: Marks, charts: dict[str, Chart], files: str) -> str:
    match part:
        case Note():
            return _plain(part.text)
        case Gap():
            return "\n".join([f"{part.what}: run", "", *(f"- {_code(command)}" for command in part.commands)])
        case Chart():
            name = f"chart-{len(charts) + 1}.svg"
            charts[name] = part
            alt = re.sub(r"([\[\]])", r"\\\1", _plain(f"{part.title}. {part.alt}"))
            return f"![{alt}]({PurePosixPath(files) / name})\n\n*{_plain(part.title)}*{_mark(part.sources, marks)}"
        case Table():
            return "\n".join([f"*{_plain(part.caption)}*", "", *_rows(part, marks)])


def _rows(table: Table, marks: Marks) -> list[str]:
    def line(cells: tuple[str, ...], mark: str = "") -> str:
        texts = [_cell(cell) for cell in cells]
        return f"| {' | '.join([texts[0] + mark, *texts[1:]])} |"

    ruler = f"|{' --- |' * len(table.columns)}"
    return [line(table.columns), ruler, *(line(row.cells, _mark(row.sources, marks)) for row in table.rows)]


def _mark(sources: tuple[Source, ...], marks: Marks) -> str:
    return f" [{marks[sources]}]" if sources else ""


def _sources(marks: Marks) -> str:
    rows = tuple(
        Row((str(mark), source.folder, source.file, source.where))
        for sources, mark in marks.items()
        for source in sources
    )
    return "\n".join(_rows(Table(("mark", "run", "file", "where"), rows, SOURCES), {}))


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def _plain(text: str) -> str:
    """Text in which nothing is taken for HTML or for a new line."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
