"""What a sweep is: the frozen, checked description that TOML files fill in. Nothing here imports torch."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from locallearn.errors import InputError, listed
from locallearn.recipes.choices import suggestion
from locallearn.recipes.problems import problems
from locallearn.recipes.section import Count, Section, Whole, told_by_key

FOLDER = "shipped"
Changes = dict[str, Any]
"""Values of a recipe's fields by their paths, such as `training.lr`."""
Scalar = bool | int | float | str


class Case(Section):
    """One row of an ablation: a recipe, or changes to the sweep's."""

    name: str
    """What the row is called."""
    recipe: str | None = None
    """A recipe in place of the sweep's."""
    set: Changes = Field(default_factory=dict)
    """Changes to it."""


class Range(Section):
    """Values of one searched field: from `low` to `high`, or one of `choices`."""

    low: int | float | None = None
    """The smallest value; whole numbers are searched where both ends are written without a point."""
    high: int | float | None = None
    """The largest value."""
    log: bool = False
    """Draw evenly over the logarithm."""
    step: int | float | None = None
    """Distance of the values from `low` on."""
    choices: Annotated[tuple[Scalar, ...] | None, Field(strict=False)] = None
    """The values themselves."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        found = []
        if self.choices is not None:
            if not self.choices or len(set(map(repr, self.choices))) < len(self.choices):
                found.append(f"choices = {list(self.choices)} must be different values, at least one.")
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                found.append("choices say all values: leave low, high, log and step out.")
        elif self.low is None or self.high is None:
            found.append("Give low and high, or choices.")
        else:
            found += _range_problems(self.low, self.high, log=self.log, step=self.step)
        if found:
            raise ValueError(listed(found))
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The choices, or the smallest and the largest value."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None and self.high is not None
        return (self.low, self.high) if self.is_whole else (float(self.low), float(self.high))


def _range_problems(low: float, high: float, *, log: bool, step: float | None) -> list[str]:
    found = []
    if low >= high:
        found.append(f"low = {low} must be below high = {high}.")
    if log and low <= 0:
        found.append(f"log = true needs low above 0, not {low}.")
    if log and step is not None:
        found.append("log and step exclude each other: leave one out.")
    if step is not None and step <= 0:
        found.append(f"step = {step} must be above 0.")
    if isinstance(step, float) and isinstance(low, int) and isinstance(high, int):
        found.append(f"step = {step} must be whole where low and high are.")
    return found


class Sweep(Section):
    """Runs of one recipe with different values of some of its fields; `grid`, `search` or `case` says which."""

    title: str = ""
    """What is swept, in one line."""
    source: str = ""
    """Which table of a paper it repeats."""
    recipe: str | None = None
    """The recipe by name, or the path of a TOML file; none where every case has its own."""
    score: Literal["validation", "test"] = "validation"
    """What trials are compared by: the images held out, or `test`, which is for repeating a printed table: a value that
    is chosen by test images is no fair result."""
    trials: Whole | None = None
    """Trials of a search; of a grid or of cases only the first ones, none takes all."""
    seed: Count = 0
    """Seed of what the search draws."""
    seeds: Whole = 1
    """Runs of each trial, with the recipe's seed, seed + 1, ...; their mean score counts."""
    set: Changes = Field(default_factory=dict)
    """Changes that all trials share."""
    grid: dict[str, Annotated[tuple[Any, ...], Field(strict=False)]] = Field(default_factory=dict)
    """Lists of values by field; every combination is one trial, the last field varies fastest."""
    search: dict[str, Annotated[Range, told_by_key(Range)]] = Field(default_factory=dict)
    """Ranges by field, from which Optuna's TPE draws."""
    case: Annotated[tuple[Annotated[Case, told_by_key(Case)], ...], Field(strict=False)] = ()
    """Trials one by one."""

    @property
    def kind(self) -> Literal["grid", "search", "case"]:
        """Which of the three says what the trials are."""
        return "grid" if self.grid else "search" if self.search else "case"

    @property
    def fields(self) -> tuple[str, ...]:
        """The swept fields by path; `case` for the names of cases."""
        return tuple(self.grid or self.search) or ("case",)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        given = [name for name in ("grid", "search", "case") if getattr(self, name)]
        found = []
        if len(given) != 1:
            found.append(f"Give one of [grid], [search] and [[case]], not {' and '.join(given) or 'none'}.")
        if self.search and self.trials is None:
            found.append("A search needs trials, the number of its trials.")
        for field, values in self.grid.items():
            if not values or len(set(map(repr, values))) < len(values):
                found.append(f"grid.{field!r} = {list(values)} must be different values, at least one.")
        cases = [case.name for case in self.case]
        if twice := sorted({name for name in cases if cases.count(name) > 1}):
            found.append(f"Cases have the same name: {', '.join(map(repr, twice))}.")
        if self.recipe is None and not (self.case and all(case.recipe for case in self.case)):
            found.append("recipe is missing: a name of `locallearn ls recipes`, or the path of a TOML file.")
        swept = {*self.grid, *self.search}
        if both := sorted(swept & {*self.set}):
            found.append(f"Fields are set and swept at once: {', '.join(both)}.")
        if seeds := sorted({"seeds"} & {*swept, *self.set}):
            found.append(f"{seeds[0]} is a key of the sweep itself: seeds = 3, above all tables.")
        if found:
            raise ValueError(listed(found))
        return self


@functools.cache
def names() -> tuple[str, ...]:
    """The sweeps that come with the package.

    Returns:
        Their names in alphabetical order.
    """
    files = (resources.files("locallearn.sweeping") / FOLDER).iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def summary(sweep: str) -> str:
    """A sweep of the package in one line.

    Args:
        sweep: A name of `names()`.

    Returns:
        Its title.
    """
    return load(sweep).title


def load(sweep: str | Path) -> Sweep:
    """A sweep by name or from a file.

    Args:
        sweep: A name of `names()`, or the path of a TOML file.

    Returns:
        The checked description.

    Raises:
        InputError: There is no such sweep, it is no TOML, or some of its keys or values are refused; all are named.
    """
    try:
        tables = tomllib.loads(_text(sweep))
    except (ValueError, RecursionError) as error:
        raise InputError(f"The sweep {str(sweep)!r} is not TOML ({error}).") from error
    return checked(tables, where=f"The sweep {str(sweep)!r}")


def checked(tables: dict[str, Any], *, where: str) -> Sweep:
    """The sweep that some tables describe.

    Args:
        tables: As read from TOML.
        where: What to call them in messages.

    Returns:
        The sweep, defaults filled in.

    Raises:
        InputError: Keys or values are refused; all of them are named.
    """
    try:
        return Sweep.model_validate(tables)
    except ValidationError as error:
        raise InputError(f"{where}: {listed(problems(error, Sweep, whole='sweep'))}") from error


def dumped(sweep: Sweep) -> str:
    """A sweep as TOML.

    Args:
        sweep: The sweep.

    Returns:
        Text that reads back as an equal sweep.
    """
    return tomli_w.dumps(sweep.model_dump(mode="json", exclude_none=True, exclude_defaults=True))


def _text(sweep: str | Path) -> str:
    name = str(sweep)
    if name in names():
        return (resources.files("locallearn.sweeping") / FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    known = f"`locallearn ls sweeps` lists them: {', '.join(names())}"
    if not name.endswith(".toml"):
        raise InputError(
            f"There is no sweep {name!r}.{suggestion(name, names())} {known}; "
            "your own is given as a path that ends in .toml."
        )
    try:
        return Path(sweep).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"There is no file {name!r}; without a file: {known}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"The sweep {name!r} cannot be read ({error}).") from error
