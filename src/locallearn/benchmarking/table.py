"""A result as a table."""

from __future__ import annotations

from typing import Any

MIB = 2**20
TITLES = (
    "row",
    "precision",
    "saved, MiB",
    "alive, MiB",
    "of plain",
    "CUDA peak, MiB",
    "operations",
    "time",
    "quartiles",
    "images/s",
)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers.

    Args:
        header: Titles.
        rows: Cells.

    Returns:
        Markdown.
    """
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def table(content: dict[str, Any]) -> str:
    """Every row of a result, without the columns that no row fills.

    Args:
        content: Of a result file.

    Returns:
        Markdown; below it a line for each row that could not be measured.
    """
    cells = [_cells(row) for row in content["rows"]]
    kept = [index for index in range(len(TITLES)) if index < 2 or any(row[index] for row in cells)]
    shown = markdown([TITLES[index] for index in kept], [[row[index] for index in kept] for row in cells])
    refused = [f"{row['row']} ({row['precision']}): {row['refused']}" for row in content["rows"] if row["refused"]]
    return "\n\n".join([shown, *refused])


def _cells(row: dict[str, Any]) -> list[str]:
    memory, time = row["memory"] or {}, row["time"] or {}
    quartiles = time.get("quartiles")
    return [
        row["row"],
        row["precision"],
        mebibytes(memory.get("bytes_saved")),
        mebibytes(memory.get("bytes_alive")),
        _number(memory.get("bytes_alive_ratio"), ".3f"),
        mebibytes(memory.get("cuda_peak")),
        _number(memory.get("flops_ratio"), ".2f"),
        _number(time.get("time_ratio"), ".2f"),
        "" if quartiles is None else f"{quartiles[0]:.2f} - {quartiles[1]:.2f}",
        _number(time.get("images_per_second"), ",.0f"),
    ]


def mebibytes(value: int | None) -> str:
    """Bytes as a cell.

    Args:
        value: Bytes, None if not measured.

    Returns:
        MiB with one decimal, or nothing.
    """
    return _number(None if value is None else value / MIB, ".1f")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
