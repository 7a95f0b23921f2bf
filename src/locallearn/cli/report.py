"""Write one readable page about runs: results beside the papers' figures, charts, comparisons at equal cost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from locallearn import atomic_file
from locallearn.cli.flags import Json, parsed
from locallearn.cli.looking import bar, kept
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError, listed

if TYPE_CHECKING:
    from locallearn.analysis import TrainedRun
    from locallearn.reporting import Report

ENDINGS = (".html", ".md")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Write one page about runs: results beside the papers' figures, charts, comparisons at equal cost.

    Runs under way are shown as far as they have come. Runs of other data or classes get chapters of their own. The
    folder of a sweep is shown as its table and chart; name its trials too to have them compared as runs.

    Args:
        out: The page: .html is one self-contained file; .md has its charts in a folder NAME-files beside it.
        against: With paper, every row that papers print a number for is marked reproduced, close or not.
        title: The page's heading.
        overwrite: Replace an older page.
    """

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(help="Folders of runs, and of sweeps.")]]
    out: Path
    against: Literal["paper"] | None = None
    title: str = "Runs compared"
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    json: Json = False


def run(argv: Sequence[str]) -> int:
    """Write the page.

    Args:
        argv: Words after `report`.

    Returns:
        The exit code.

    Raises:
        InputError: A folder holds no run, or the page cannot be written there.
    """
    options = parsed(ReportOptions, argv, verb="report")
    _check(options)
    from locallearn.analysis import opened_all
    from locallearn.reporting import report_of
    from locallearn.reporting.subjects import checked_runs
    from locallearn.sweeping import sweep_table
    from locallearn.sweeping.table import TABLE

    folders = [path for path in options.runs if not (path / TABLE).is_file()]
    sweeps = [sweep_table(path) for path in options.runs if path not in folders]
    runs = checked_runs(opened_all(folders)) if folders else []
    verdicts = options.against == "paper"
    report = report_of(runs, sweeps=sweeps, verdicts=verdicts, flops=_flops(runs), title=options.title)
    try:
        _write(report, options.out)
    except OSError as error:
        raise InputError(f"{str(options.out)!r} cannot be written ({error}): choose another --out.") from error
    rows = _told(runs)
    if rows:
        print_rows(rows)
    for sweep in sweeps:
        print(f"sweep {sweep.path}: {len(sweep.rows)} of {sweep.trials} trials")
    print(f"\nwritten to {options.out}")
    if options.json:
        told = [{"sweep": str(sweep.path), "best": sweep.best, "trials": len(sweep.rows)} for sweep in sweeps]
        print(json.dumps({"report": str(options.out), "rows": rows, "sweeps": told}))
    return 0


def files_of(page: Path) -> Path:
    """The folder of a Markdown page's charts.

    Args:
        page: The page.

    Returns:
        A folder beside it, named after it.
    """
    return page.with_name(f"{page.stem}-files")


def _check(options: ReportOptions) -> None:
    page, problems = options.out, []
    if page.suffix not in ENDINGS:
        problems.append(f"--out {str(page)!r} must end in .html or .md.")
    if not page.parent.is_dir():
        problems.append(f"The folder {str(page.parent)!r} does not exist: make it, or choose another --out.")
    written = [page, *([files_of(page)] if page.suffix == ".md" else [])]
    for path in written:
        if path.exists() and not options.overwrite:
            problems.append(f"{str(path)!r} exists: choose another --out, or add --overwrite.")
    if page.is_dir():
        problems.append(f"{str(page)!r} is a folder: choose another --out.")
    resolved = [path.resolve() for path in options.runs]
    if twice := [str(path) for path in dict.fromkeys(resolved) if resolved.count(path) > 1]:
        problems.append(f"Folders are named twice: {', '.join(twice)}.")
    if not options.runs:
        problems.append("Give the folder of at least one run.")
    if problems:
        raise InputError(listed(problems))


def _flops(runs: Sequence[TrainedRun]) -> dict[TrainedRun, int | None]:
    # Counted once for each run and kept beside it, as by locallearn curves, so that the number can be looked up.
    from locallearn.analysis.curves import flops_per_step, series
    from locallearn.analysis.stored import stored

    found: dict[TrainedRun, int | None] = {}
    with bar("operations of a step", len(runs)) as piece:
        for each in runs:
            found[each] = stored(each).get("curves", {}).get("settings", {}).get("flops_per_step")
            if found[each] is None and each.metrics:
                found[each] = flops_per_step(each)
                curves = series(each, flops_per_step=found[each])
                kept(each, "curves", dataclasses.asdict(curves), settings={"flops_per_step": found[each]})
            piece()
    return found


def _write(report: Report, page: Path) -> None:
    from locallearn.plotting.figure_file import save_figure, styled
    from locallearn.reporting import html_page, markdown_page
    from locallearn.reporting.drawing import drawn

    if page.suffix == ".html":
        atomic_file.write(page, html_page(report).encode())
        return
    folder = files_of(page)
    text, charts = markdown_page(report, files=folder.name)
    for older in folder.glob("chart-*.svg"):
        older.unlink()
    for name, chart in charts.items():
        with styled():
            save_figure(drawn(chart, headed=True), folder / name)
    atomic_file.write(page, text.encode())


def _told(runs: Sequence[TrainedRun]) -> list[dict[str, Any]]:
    from locallearn.reporting.readings import quantity, result
    from locallearn.reporting.subjects import chapters

    return [
        {
            "data": chapter.title,
            "run": subject.label,
            "seeds": len(subject.runs),
            "result": quantity(chapter.score),
            "value": result(subject, quantity(chapter.score)).value,
            "deviation": result(subject, quantity(chapter.score)).deviation,
            "finished": subject.is_finished,
        }
        for chapter in chapters(runs)
        for subject in chapter.subjects
    ]
