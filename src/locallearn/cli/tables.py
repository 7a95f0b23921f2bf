"""Rows on standard output: as a table, as CSV, or as LaTeX."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
)


def print_rows(rows: Sequence[Mapping[str, Any]], *, form: str = "table") -> None:
    """Print rows that share their columns.

    Args:
        rows: At least one row; the keys of the first are the columns.
        form: `table` (ruled on a terminal, aligned columns elsewhere), `csv` or `latex`.
    """
    columns = list(rows[0])
    cells = [[shown(row.get(column)) for column in columns] for row in rows]
    match form:
        case "csv":
            print(csv_text(columns, cells), end="")
        case "latex":
            print(latex_text(columns, cells), end="")
        case _:
            _print_table(columns, cells)


def shown(value: Any) -> str:
    """A cell's text.

    Args:
        value: What the cell holds.

    Returns:
        Four significant decimals for a float, a dash for None, else the plain text.
    """
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:.2f}"
    return "-" if value is None else str(value)


def csv_text(columns: list[str], cells: list[list[str]]) -> str:
    """Rows as CSV with a header.

    Args:
        columns: Names of the columns.
        cells: Texts of the rows.

    Returns:
        Lines that end in a newline.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *cells])
    return buffer.getvalue()


def latex_text(columns: list[str], cells: list[list[str]]) -> str:
    """Rows as a LaTeX tabular.

    Args:
        columns: Names of the columns.
        cells: Texts of the rows.

    Returns:
        Lines that end in a newline.
    """
    lines = [" & ".join(cell.translate(LATEX) for cell in row) + r" \\" for row in [columns, *cells]]
    body = "\n".join([lines[0], r"\hline", *lines[1:]])
    return f"\\begin{{tabular}}{{{'l' * len(columns)}}}\n{body}\n\\end{{tabular}}\n"


def _print_table(columns: list[str], cells: list[list[str]]) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns)
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[index]) for row in [columns, *cells]) for index in range(len(columns))]
    for row in [columns, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
