"""A sweep's table as a chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.metrics.words import in_words
from locallearn.plotting.figure_file import save_figure, styled
from locallearn.plotting.over_values import Panel, by_name, over_values
from locallearn.sweeping.points import is_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from locallearn.sweeping.table import SweepTable

LOG_FROM = 30
"""How many times the smallest value the largest must be for a logarithmic axis."""


def save_chart(table: SweepTable, path: Path) -> None:
    """Draw a sweep and write it.

    Args:
        table: At least one of its trials has finished.
        path: The file; its ending says how, as in `.png` or `.svg`.

    Raises:
        InputError: matplotlib is missing, or knows no such ending.
    """
    with styled():
        save_figure(sweep_chart(table), path)


def sweep_chart(table: SweepTable) -> Figure:
    """Draw what the finished trials of a sweep reached.

    Args:
        table: At least one of its trials has finished.

    Returns:
        The scores over the swept values, a panel for each field of a search; rows below each other where values are no
        numbers. Numbers that a paper prints for the same runs are beside them. Draw it inside of `styled`.
    """
    rows = [row for row in table.rows if row["state"] == "finished"]
    heading = {"title": table.title, "score": f"{in_words(table.score)} in %"}
    if table.kind == "search":
        numeric = [field for field in table.fields if all(is_number(row["values"][field]) for row in rows)]
        if numeric:
            return over_values([_scattered(rows, field) for field in numeric], **heading)
    elif (along := table.axis or _along(table, rows)) is not None:
        return over_values([_lined(table, rows, along)], **heading)
    measure = table.score.removeprefix("validation_").removeprefix("test_")
    return by_name(
        {row["name"]: row["score"] for row in rows},
        spreads={row["name"]: row["deviations"].get(table.score, 0.0) for row in rows if row["deviations"]},
        published=_published(table, rows) if measure == "accuracy" and table.score.startswith("test_") else None,
        **heading,
    )


def _along(table: SweepTable, rows: list[dict[str, Any]]) -> str | None:
    # Of a grid over several fields, the last one with numbers.
    numeric = [field for field in table.fields if all(is_number(row["values"].get(field)) for row in rows)]
    return numeric[-1] if numeric else None


def _lined(table: SweepTable, rows: list[dict[str, Any]], along: str) -> Panel:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: row["values"][along]):
        others = ", ".join(
            f"{field} = {row['values'][field]}" for field in table.fields if field not in (along, "case")
        )
        lines.setdefault(others or "here", []).append((row["values"][along], row["score"]))
    if list(lines) == ["here"] and table.score == "test_accuracy" and (printed := _published(table, rows)):
        places = {row["name"]: row["values"][along] for row in rows}
        lines["published"] = sorted((places[name], value) for name, value in printed.items())
    return Panel(along, lines, log=_is_wide([row["values"][along] for row in rows]))


def _scattered(rows: list[dict[str, Any]], field: str) -> Panel:
    points = sorted((row["values"][field], row["score"]) for row in rows)
    return Panel(field, {"trials": points}, log=_is_wide([value for value, _ in points]), connected=False)


def _published(table: SweepTable, rows: list[dict[str, Any]]) -> dict[str, float]:
    # Papers' errors as accuracies.
    return {row["name"]: 100 - row["published"]["test_error"] for row in rows if "test_error" in row["published"]}


def _is_wide(values: list[float]) -> bool:
    return min(values) > 0 and max(values) >= LOG_FROM * min(values)
