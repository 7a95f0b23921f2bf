"""What a report is made of, whatever it is written as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING = "missing"
"""What a cell says where a run has no such number."""
SOURCES = "Where the numbers come from"
"""Heading of the list of sources."""


class Verdict(StrEnum):
    """How a number of ours stands to the published one; the members' values are what a page says."""

    REPRODUCED = "reproduced"
    CLOSE = "close"
    NOT = "not"
    OTHER_SETTINGS = "other settings"
    UNFINISHED = "unfinished"
    NOT_MEASURED = "not measured"
    COUNTED_OTHERWISE = "counted otherwise"


@dataclass(frozen=True)
class Source:
    """Where a number comes from.

    Args:
        folder: The run's.
        file: Within that folder.
        where: Which line or fields.
    """

    folder: str
    file: str
    where: str


Marks = Mapping[tuple[Source, ...], int]
"""A number for each place that rows and charts name as their source."""


@dataclass(frozen=True)
class Row:
    """A table's row.

    Args:
        cells: Their texts, or verdicts; one for each column.
        sources: Of its numbers.
    """

    cells: tuple[str | Verdict, ...]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows under a header.

    Args:
        columns: Names; the first column names the rows.
        rows: The rows.
        caption: What it shows.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str


@dataclass(frozen=True)
class Chart:
    """A picture with words for those who do not see it.

    Args:
        title: What it shows.
        alt: The same in numbers, for screen readers.
        draw: Draws it; called inside of `plotting.figure_file.styled`.
        sources: Of its numbers.
    """

    title: str
    alt: str
    draw: Callable[[], Figure]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Note:
    """A paragraph.

    Args:
        text: Its words; what stands between backticks is code.
    """

    text: str


@dataclass(frozen=True)
class Gap:
    """Something that nobody has looked at yet.

    Args:
        what: What is missing.
        commands: What to run for it.
    """

    what: str
    commands: tuple[str, ...]


Part = Note | Gap | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what belongs under it.

    Args:
        title: The heading.
        parts: In order of reading.
        sections: Smaller ones after the parts.
    """

    title: str
    parts: tuple[Part, ...] = ()
    sections: tuple[Section, ...] = ()

    def all_parts(self) -> Iterator[Part]:
        """The parts of this section and all within it.

        Yields:
            Part: In order of reading.
        """
        yield from self.parts
        for section in self.sections:
            yield from section.all_parts()


@dataclass(frozen=True)
class Report:
    """A whole report.

    Args:
        title: Its heading.
        lead: What was compared, in one or two sentences.
        sections: In order of reading.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]

    def marks(self) -> dict[tuple[Source, ...], int]:
        """A number for each place that rows and charts name as their source, counted in order of reading.

        Returns:
            The numbers from 1, by the sources.
        """
        found: dict[tuple[Source, ...], int] = {}
        for section in self.sections:
            for part in section.all_parts():
                holders = part.rows if isinstance(part, Table) else (part,) if isinstance(part, Chart) else ()
                for holder in holders:
                    if holder.sources:
                        found.setdefault(holder.sources, len(found) + 1)
        return found
