"""Make a sweep's trials one after another, or go on with them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from locallearn import atomic_file
from locallearn.atomic_file import TEMPORARY
from locallearn.errors import InputError, TrainingStopped, listed
from locallearn.extras import require
from locallearn.recipes import Recipe, checked, differences, dumped
from locallearn.recipes.stored import RECIPE, flat
from locallearn.sweeping import rows, sweep_file
from locallearn.sweeping import study as studies
from locallearn.sweeping.check import check_points
from locallearn.sweeping.points import Point, bases, points, searched, told
from locallearn.sweeping.sweep_file import Changes, Sweep
from locallearn.sweeping.table import SweepTable, sweep_table
from locallearn.training import Progress, Silent, train_seeds
from locallearn.training.stop_request import StopRequest

if TYPE_CHECKING:
    from optuna.study import Study

DATABASE = "sweep.sqlite"
DESCRIPTION = "sweep.toml"
BASES = "bases"
UNDER_WAY = "under_way"


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    resume: bool = False,
    progress: Callable[[], Progress] = Silent,
    note: Callable[[str], None] = lambda message: None,
) -> SweepTable:
    """Train every trial of a sweep and keep the table of what came of them.

    The folder gets `sweep.toml`, the study `sweep.sqlite`, the table `sweep.json`, and `trial-0000`, `trial-0001`, ...,
    which are ordinary runs. A trial that diverges, finds no memory or draws values that do not go together is recorded
    as failed, and the next one begins. A sweep that was killed goes on with the trial that was under way, from its
    run's checkpoint, and ends with the same table.

    Args:
        sweep: What to sweep.
        out: The folder, empty or absent unless `resume`.
        resume: Go on with the sweep in the folder; `sweep` may differ from it in the number of trials.
        progress: Makes what each run shows.
        note: Told of every trial.

    Returns:
        The table of all trials.

    Raises:
        InputError: The sweep, a trial's recipe, the data or the folder cannot be used; all problems at once.
        TrainingStopped: Results cannot be written.
        SystemExit: A signal came, and the state is saved: code 143 after SIGTERM, 130 after SIGINT.
    """
    require("optuna", "A sweep", extra="sweep")
    _check_folder(sweep, out, resume=resume)
    known = bases(sweep)
    found = points(sweep, known)
    check_points(sweep, found)
    out.mkdir(parents=True, exist_ok=True)
    with studies.opened(out / DATABASE) as study:
        _check_bases(study, known, out)
        atomic_file.write(out / DESCRIPTION, sweep_file.dumped(sweep).encode())
        _Trials(sweep, out, study, known, found, progress, note).make()
    return sweep_table(out)


def stored(out: Path) -> Sweep:
    """The sweep that a folder was begun by.

    Args:
        out: The folder.

    Returns:
        The sweep.

    Raises:
        InputError: The folder holds none.
    """
    if not (out / DESCRIPTION).is_file():
        raise InputError(
            f"{str(out)!r} holds no sweep ({DESCRIPTION} is missing): give the folder that `locallearn sweep` wrote."
        )
    return sweep_file.load(out / DESCRIPTION)


class _Trials:
    def __init__(
        self,
        sweep: Sweep,
        out: Path,
        study: Study,
        known: dict[str, Recipe],
        found: list[Point],
        progress: Callable[[], Progress],
        note: Callable[[str], None],
    ) -> None:
        self.sweep, self.out, self.study, self.known, self.found = sweep, out, study, known, found
        self.progress, self.note = progress, note
        self.is_search = sweep.kind == "search"
        self.count = (sweep.trials or 0) if self.is_search else len(found)

    def make(self) -> None:
        made = studies.rows(self.study)
        rows.write_table(self.out, self.sweep, self.found, made, self.count)
        for number in range(len(made), self.count):
            values = self._drawn(number) if self.is_search else self.found[number].values
            folder = self.out / f"trial-{number:04d}"
            self.note(f"trial {number + 1} of {self.count}: {told(values)} -> {folder}")
            point, reason = self._trained(number, values, folder)
            with StopRequest() as stop:
                self._record(number, point, folder, reason)
            if reason:
                self.note(f"trial {number + 1} failed: {reason}")
            if stop.exit_code is not None:
                raise SystemExit(stop.exit_code)

    def _drawn(self, number: int) -> Changes:
        # What was drawn is kept until the trial ends, as another version of Optuna may draw otherwise.
        under_way = self.study.user_attrs.get(UNDER_WAY)
        if under_way is None or under_way["trial"] != number:
            under_way = {"trial": number, "values": studies.proposed(self.sweep, self.study.get_trials())}
            self.study.set_user_attr(UNDER_WAY, under_way)
        return under_way["values"]

    def _trained(self, number: int, values: Changes, folder: Path) -> tuple[Point, str | None]:
        # What was trained, and why it failed if it did.
        if not self.is_search:
            return self.found[number], _trained(self.found[number].recipe, folder, self.progress)
        point = Point(values, self.found[0].recipe)
        try:
            point = searched(self.sweep, self.known, values)
            return point, _trained(point.recipe, folder, self.progress)
        except InputError as error:
            if _of_the_machine(error):
                raise
            return point, str(error)

    def _record(self, number: int, point: Point, folder: Path, reason: str | None) -> None:
        row = rows.row(number, point, self.sweep, rows.axis(self.sweep, self.found), run=folder.name, reason=reason)
        score = None
        if reason is None:
            row |= rows.measured(folder, point.recipe)
            score = row[rows.score_name(self.sweep, point.recipe)]
        studies.record(self.study, self.sweep, point.values, row | {"score": score}, score=score)
        rows.write_table(self.out, self.sweep, self.found, studies.rows(self.study), self.count)


def _trained(recipe: Recipe, folder: Path, progress: Callable[[], Progress]) -> str | None:
    # None, or why the trial failed.
    if rows.all_ended(folder, recipe):
        return None
    begun = (folder / RECIPE).is_file()
    if not begun and folder.is_dir():
        for leftover in folder.glob(f"{TEMPORARY}*"):
            leftover.unlink()
    try:
        train_seeds(recipe, folder, resume=begun, progress=progress)
    except TrainingStopped as error:
        if _of_the_machine(error):
            raise
        return str(error)
    return None


def _of_the_machine(error: BaseException) -> bool:
    # Whether it began with a file that could not be written or read, which every later trial would meet as well.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    return cause is not None


def _check_folder(sweep: Sweep, out: Path, *, resume: bool) -> None:
    if not resume:
        if (out / DESCRIPTION).exists():
            raise InputError(
                f"{str(out)!r} already holds a sweep: go on with it by --resume {out}, or choose another --out."
            )
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise InputError(f"{str(out)!r} exists and is no empty folder: choose another --out.")
        return
    before, now = (flat(each.model_dump(exclude={"trials"})) for each in (stored(out), sweep))
    if changed := [key for key in {**before, **now} if before.get(key) != now.get(key)]:
        raise InputError(
            f"{str(out)!r} was begun by another sweep; resume it without these changes, or begin a new one: "
            + listed([f"{key} is {now.get(key)!r}, but the sweep there has {before.get(key)!r}." for key in changed])
        )


def _check_bases(study: Study, known: dict[str, Recipe], out: Path) -> None:
    kept = study.user_attrs.get(BASES)
    if kept is None:
        study.set_user_attr(BASES, {name: dumped(recipe) for name, recipe in known.items()})
        return
    changed = [
        f"{name}: {difference}"
        for name, recipe in known.items()
        for difference in differences(checked(tomllib.loads(kept[name]), where=f"The recipe {name!r} in {out}"), recipe)
    ]
    if changed:
        raise InputError(
            f"The sweep in {str(out)!r} was begun with other settings in its recipes; restore them, or begin a new "
            f"sweep: {listed(changed)}"
        )
