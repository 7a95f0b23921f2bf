"""What sweeps came to: their trials beside each other, and beside the published tables that they repeat."""

from __future__ import annotations

from functools import partial
from typing import Any

from locallearn.errors import command
from locallearn.metrics.words import in_words
from locallearn.recipes.stored import SUMMARY
from locallearn.reporting.document import MISSING, Chart, Note, Part, Row, Section, Source, Table
from locallearn.sweeping import SweepTable
from locallearn.sweeping.chart import sweep_chart
from locallearn.sweeping.table import TABLE, readable_rows


def sweep_section(table: SweepTable) -> Section:
    """The section of one sweep.

    Args:
        table: Finished or under way.

    Returns:
        What was swept, a chart of the finished trials, and a row for each trial that has ended.
    """
    parts: list[Part] = [Note(_lead(table))]
    finished = [row for row in table.rows if row["state"] == "finished"]
    if finished:
        alt = "; ".join(f"{row['name']}: {row['score']:.2f}" for row in finished)
        title = f"{in_words(table.score)} of the trials"
        draw = partial(sweep_chart, table)
        everything = tuple(source for row in finished for source in _sources(table, row))
        parts.append(Chart(title.capitalize(), f"Points, in percent. {alt}.", draw, everything))
    if rows := readable_rows(table):
        columns = ("trial", *dict.fromkeys(name for row in rows for name in row))
        shown = tuple(
            Row(
                (str(row["trial"]), *(_cell(cells.get(name), name, table) for name in columns[1:])),
                _sources(table, row),
            )
            for row, cells in zip(table.rows, rows, strict=True)
        )
        parts.append(Table(columns, shown, f"Trials of {table.title}; scores in percent"))
    return Section(f"Sweep: {table.title}", tuple(parts))


def _lead(table: SweepTable) -> str:
    failed = sum(row["state"] == "failed" for row in table.rows)
    said = [
        f"{len(table.rows)} of {table.trials} trials have ended" + (f", {failed} of them failed." if failed else ".")
    ]
    if table.source:
        said.append(f"Source: {table.source.rstrip('.')}.")
    shared = [f"`{path} = {value!r}`" for path, value in table.set.items()]
    said.append(
        f"Each trial is {table.seeds} run{'' if table.seeds == 1 else 's'}{' with ' * bool(shared)}{', '.join(shared)}."
    )
    if not table.is_finished:
        said.append(f"Go on with it by `{command('sweep', '--resume', table.path)}`.")
    if table.best is not None and len({row["score"] for row in table.rows if "score" in row}) > 1:
        best = next(row for row in table.rows if row["trial"] == table.best)
        fair = ", chosen by test images, which makes it no fair result" if table.score.startswith("test_") else ""
        said.append(f"Highest {in_words(table.score)}: {best['score']:.2f} %, {best['name']}{fair}.")
    return " ".join(said)


def _sources(table: SweepTable, row: dict[str, Any]) -> tuple[Source, ...]:
    own = Source(str(table.path), TABLE, f"rows, trial {row['trial']}")
    runs = sorted({found.parent for pattern in (SUMMARY, f"seed*/{SUMMARY}") for found in row["run"].glob(pattern)})
    return (own, *(Source(str(run), SUMMARY, "all") for run in runs))


def _cell(value: Any, column: str, table: SweepTable) -> str:
    if value is None:
        return MISSING
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if column in (*table.fields, table.axis) else f"{value:.2f}"
